"""What an operator is: ports, reference, cost, cases, tolerance; and what every backend answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType

Scalar = bool | int | float | str | tuple[int, ...]
Attributes = Mapping[str, Scalar]
Tensors = Mapping[str, Tensor]
Types = Mapping[str, TensorType]
# (operator name, inputs, attributes) -> outputs: one catalogued call on tensors in host memory
Run = Callable[[str, Tensors, Attributes], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class Backward:
    """One call on the way back: what it read and made, and what is asked of it."""

    inputs: Tensors
    outputs: Tensors
    attributes: Attributes  # complete
    outer: Tensors  # by output port: the gradient of the loss, of the output's shape
    wanted: frozenset[str]  # input ports whose gradient is asked for
    run: Run  # on any backend, so that training runs where inference does


# Gradients by input port, float32; for a sparse weight of the shape of its part `values`.
Gradient = Callable[[Backward], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Port:
    """One named input or output: the layout and element types it takes."""

    name: str
    layout: Layout = Layout.DENSE
    dtypes: tuple[Dtype, ...] = (Dtype.F32,)
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Attribute:
    """One named scalar of a call; `default` None means the caller must give it."""

    name: str
    kind: type
    default: Scalar | None = None
    meaning: str = ""
    choices: tuple[Scalar, ...] = ()  # empty: every value of the kind


@dataclass(frozen=True, slots=True)
class Cost:
    """Compulsory work of one call: each input byte read once, each output byte written once."""

    flops: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a backend may be from the reference; both zero means equal.

    Subnormal float32 are outside every tolerance: a device may read or write them as zero, so that
    one of them is false after a cast to bool there, and true in the reference. So is a zero's sign.
    """

    rtol: float = 0.0
    atol: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """One named call that every backend must answer like the reference."""

    name: str
    inputs: Tensors
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """A contract: what is computed, on what, at which cost, and how closely to be matched.

    `name` is one word everywhere: spec, kernel file and function, launcher, bench id, log field.
    `infer` maps input types to output types and raises ValueError for shapes that do not fit.
    `reference` is the definition (numpy); `cases` covers edges: empty, one row, odd sizes.
    `gradient` goes backwards through one call, for training; None where nobody has written it.
    `jumps`: a rounding of an input may decide between two results, as at a threshold.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    infer: Callable[[Types, Attributes], dict[str, TensorType]]
    reference: Callable[[Tensors, Attributes], dict[str, Tensor]]
    cost: Callable[[Types, Attributes], Cost]
    cases: Callable[[np.random.Generator], Iterator[Case]]
    attributes: tuple[Attribute, ...] = ()
    tolerance: Tolerance = Tolerance()
    gradient: Gradient | None = None
    jumps: bool = False


class Resident(Protocol):
    """A tensor where a backend keeps it: host memory, or buffers on a device."""

    @property
    def type(self) -> TensorType:
        """Layout, element type and shape."""
        ...


class Backend(Protocol):
    """An object that runs operators. Calls come from one thread at a time.

    A result of `run` stays where it was computed until `download` or `release`.
    """

    name: str

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Whether `run` would take these inputs."""
        ...

    def upload(self, tensor: Tensor) -> Any:
        """Bring a tensor to the device and keep it there."""
        ...

    def download(self, resident: Any) -> Tensor:
        """Bring a tensor back to host memory; waits for the work that produces it."""
        ...

    def release(self, resident: Any) -> None:
        """Give back the memory of a tensor that is not needed again."""
        ...

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Any], attributes: Attributes
    ) -> dict[str, Any]:
        """Run one operator call on resident tensors; returns resident outputs by port name.

        An output may share memory with an input (a reshape does), so neither is written to again.

        Raises:
            ValueError: the call does not fit its spec.
        """
        ...

    def synchronize(self) -> None:
        """Wait until everything enqueued has finished; needed before a clock is read."""
        ...


Prepared = Callable[[Mapping[str, Any]], dict[str, Any]]


@runtime_checkable
class Preparing(Protocol):
    """A backend that can check and resolve a call once, for the many times it is repeated."""

    def prepare(self, spec: OperatorSpec, types: Types, attributes: Attributes) -> Prepared:
        """A function from resident inputs of exactly these types to what `run` returns for them.

        Raises:
            ValueError: the call does not fit its spec.
        """
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """One call of a chain: it reads what the call before it makes, and nobody else reads that."""

    spec: OperatorSpec
    types: Types  # of all its inputs, by port
    attributes: Attributes
    reads: tuple[str, str] | None  # output port of the call before, own port; None: the first call
    wanted: tuple[str, ...]  # output ports that others read


@runtime_checkable
class Chaining(Protocol):
    """A backend that can do some calls in a row as one, without what goes from each to the next."""

    def chain(self, links: tuple[Link, ...]) -> Prepared | None:
        """A function from resident inputs to the wanted outputs of all calls; None: no such chain.

        Ports are named by `port_of_chain`. Results are those of the calls one by one.

        Raises:
            ValueError: a call does not fit its spec.
        """
        ...


def port_of_chain(at: int, port: str) -> str:
    """The name of a port of call number `at` among all ports of a chain."""
    return f"{at}.{port}"
