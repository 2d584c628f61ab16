"""Run a network over any backend: weights uploaded once, dead activations freed at once."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

from shared.network import plans, shapes
from shared.network.graph import Network, Step
from shared.network.plans import Chained, Plan, Planned
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import (
    Attributes,
    Backend,
    OperatorSpec,
    Prepared,
    Preparing,
    Tensors,
    Types,
)
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType

MAX_PLANS = 128  # input shapes whose plan is remembered; a server sees few batch sizes
# What is known of every input: layout, element type and shape.
Kinds = tuple[tuple[Layout, Dtype, tuple[int | None, ...]], ...]


def load(network: Network, backend: Backend) -> "Loaded":
    """Upload the weights and return the network ready to run.

    Raises:
        ValueError: the network is unsound; see `shapes.check`.
        Exception: whatever the backend raises when it has no room; nothing stays uploaded then.
    """
    shapes.check(network)
    loaded = Loaded(network, backend)
    try:
        loaded.warm()
        backend.synchronize()  # a device that copies later says here that it has no room
    except BaseException:
        loaded.close()
        raise
    return loaded


class Ways(NamedTuple):
    """How to run a network for inputs of some types."""

    plan: Plan  # step by step
    chained: tuple[Planned | Chained, ...]  # with some steps in one call


class Loaded:
    """A network whose weights are on a backend. One thread at a time may call it."""

    def __init__(self, network: Network, backend: Backend) -> None:
        self.network = network
        self.backend = backend
        self.reference = ReferenceBackend()
        self._weights: dict[str, Any] = {}
        self._plans: dict[Kinds, Ways] = {}
        self._beside: WeakSet[Loaded] = WeakSet()

    def warm(self) -> None:
        """Plan for one row, which uploads every weight that the backend will read."""
        self._plan({name: kind.with_batch(1) for name, kind in self.network.inputs.items()})

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Outputs by name, in host memory.

        Raises:
            ValueError: an input is missing, unknown, or of another type than the network declares.
        """
        return self._execute(inputs, None)[0]

    def trace(
        self, inputs: Tensors, clock: Callable[[], float]
    ) -> tuple[dict[str, Tensor], list[float]]:
        """Like `run`, waiting after each step; also the time of each step [unit of `clock`].

        Transfers for a step that the reference must do count as that step's time.
        """
        return self._execute(inputs, clock)

    def beside(self, network: Network) -> "Loaded":
        """Another network over weights of this one, which are uploaded once for both.

        It ends with this one: then it has to be asked for anew.

        Raises:
            ValueError: the network is unsound, or has another weight under one of the names.
        """
        shapes.check(network)
        for name, weight in network.weights.items():
            if self.network.weights.get(name) is not weight:
                raise ValueError(f"weight {name!r} is not one of the loaded network")
        made = Loaded(network, self.backend)
        made._weights = self._weights
        self._beside.add(made)
        return made

    def close(self) -> None:
        """Free the weights. The network can be loaded again."""
        while self._weights:
            _, resident = self._weights.popitem()
            self.backend.release(resident)
        for loaded in (self, *self._beside):
            loaded._plans.clear()
        self._beside.clear()

    def _execute(
        self, inputs: Tensors, clock: Callable[[], float] | None
    ) -> tuple[dict[str, Tensor], list[float]]:
        ways = self._ways(inputs)
        frame = _Frame(self, inputs)
        seconds: list[float] = []
        try:
            if clock is None:
                for planned in ways.chained:
                    frame.advance(planned)
            else:
                seconds += (self._timed(frame, planned, clock) for planned in ways.plan)
            return {name: frame.host(name) for name in self.network.outputs}, seconds
        finally:
            frame.free_all()

    def _timed(self, frame: "_Frame", planned: Planned, clock: Callable[[], float]) -> float:
        self.backend.synchronize()
        start = clock()
        frame.advance(planned)
        self.backend.synchronize()
        return clock() - start

    def weight(self, name: str) -> Any:
        """A weight on the backend, uploaded when it is not there yet."""
        if name not in self._weights:
            self._weights[name] = self.backend.upload(self.network.weights[name])
        return self._weights[name]

    def _ways(self, inputs: Tensors) -> "Ways":
        """How to run with inputs of these types, which were held against the declared ones."""
        declared = self.network.inputs
        if inputs.keys() == declared.keys():
            kinds = tuple(_kind(inputs[name]) for name in declared)
            if (known := self._plans.get(kinds)) is not None:
                return known
        self._accept(inputs)
        return self._plan({name: inputs[name].type for name in declared})

    def _accept(self, inputs: Tensors) -> None:
        """Hold the given inputs against the declared ones."""
        declared = self.network.inputs
        if inputs.keys() != declared.keys():
            raise ValueError(f"inputs are {sorted(declared)}, not {sorted(inputs)}")
        batches: set[int] = set()
        for name, kind in declared.items():
            given = inputs[name]
            if not _fits(kind, given):
                raise ValueError(_misfit(name, kind, given))
            batches.update(
                size
                for size, open_size in zip(given.shape, kind.shape, strict=True)
                if open_size is None
            )
        if len(batches) > 1:
            raise ValueError(f"inputs disagree about the batch: {sorted(batches)} rows")

    def _plan(self, types: Mapping[str, TensorType]) -> "Ways":
        kinds = tuple(map(_kind, types.values()))
        if len(self._plans) >= MAX_PLANS:
            self._plans.pop(next(iter(self._plans)))
        plan = self._make_plan(types)
        self._plans[kinds] = Ways(plan, plans.chained(plan, self.backend))
        return self._plans[kinds]

    def _make_plan(self, types: Mapping[str, TensorType]) -> Plan:
        known = dict(types) | {name: held.type for name, held in self.network.weights.items()}
        dead = plans.last_reads(self.network)
        plan = []
        for step in self.network.steps:
            spec = catalog.spec(step.operator)
            bound = {port: known[value] for port, value in step.inputs.items()}
            outputs, attributes = shapes.call_types(spec, bound, step.attributes)
            for port, kind in outputs.items():
                shapes.require_room(f"{step.outputs[port]!r} of step {step.name!r}", kind)
                known[step.outputs[port]] = kind
            plan.append(self._planned(step, spec, bound, attributes, dead[step.name]))
        return tuple(plan)

    def _planned(
        self,
        step: Step,
        spec: OperatorSpec,
        types: Types,
        attributes: Attributes,
        dead: tuple[str, ...],
    ) -> Planned:
        call, weights = None, dict[str, Any]()
        if self.backend.supports(spec, types):
            call = self._prepared(spec, types, attributes)
            held = self.network.weights
            weights = {port: self.weight(v) for port, v in step.inputs.items() if v in held}
        moving = tuple((port, v) for port, v in step.inputs.items() if port not in weights)
        return Planned(step, spec, types, attributes, call, weights, moving, dead)

    def _prepared(self, spec: OperatorSpec, types: Types, attributes: Attributes) -> Prepared:
        if isinstance(self.backend, Preparing):
            return self.backend.prepare(spec, types, attributes)
        return partial(self.backend.run, spec, attributes=attributes)


class _Frame:
    """The values of one run: each on the backend, in host memory, or both."""

    def __init__(self, loaded: Loaded, inputs: Tensors) -> None:
        self._loaded = loaded
        self._hosted: dict[str, Tensor] = dict(inputs)
        self._resident: dict[str, Any] = {}

    def advance(self, planned: Planned | Chained) -> None:
        """Run one step, or a chain of them, and free what nobody reads after it."""
        if planned.call is not None:
            bound = {**planned.weights}
            for port, value in planned.activations:
                bound[port] = self.resident(value)
            for port, made in planned.call(bound).items():
                self._resident[planned.outputs[port]] = made
        else:
            hosted = {port: self.host(value) for port, value in planned.step.inputs.items()}
            outputs = self._loaded.reference.run(planned.spec, hosted, planned.attributes)
            self._hosted |= {planned.outputs[port]: value for port, value in outputs.items()}
        for value in planned.dead:
            self._free(value)

    def resident(self, name: str) -> Any:
        """The activation on the backend, uploaded when it is only in host memory."""
        if name not in self._resident:
            self._resident[name] = self._loaded.backend.upload(self._hosted[name])
        return self._resident[name]

    def host(self, name: str) -> Tensor:
        """The value in host memory, downloaded when it is only on the backend."""
        if name in self._loaded.network.weights:
            return self._loaded.network.weights[name]
        if name not in self._hosted:
            self._hosted[name] = self._loaded.backend.download(self._resident[name])
        return self._hosted[name]

    def free_all(self) -> None:
        """Free what is left on the backend, after success and failure alike."""
        for name in list(self._resident):
            self._free(name)

    def _free(self, name: str) -> None:
        self._hosted.pop(name, None)
        if name in self._resident:
            self._loaded.backend.release(self._resident.pop(name))


def _kind(held: Tensor | TensorType) -> tuple[Layout, Dtype, tuple[int | None, ...]]:
    return held.layout, held.dtype, held.shape


def _fits(kind: TensorType, given: Tensor) -> bool:
    return (
        (kind.layout, kind.dtype) == (given.layout, given.dtype)
        and len(kind.shape) == len(given.shape)
        and all(
            want is None or want == have for want, have in zip(kind.shape, given.shape, strict=True)
        )
    )


def _misfit(name: str, kind: TensorType, given: Tensor) -> str:
    wanted = ", ".join("batch" if size is None else str(size) for size in kind.shape)
    return (
        f"input {name!r} is {kind.layout} {kind.dtype} ({wanted}), "
        f"not {given.layout} {given.dtype} {given.shape}"
    )
