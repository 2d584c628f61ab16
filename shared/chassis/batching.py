"""The pure part of the interactive lane: calls in, one batch per artifact, answers out.

A call is held against its network before it joins a batch, so a bad one fails alone; rows are
joined only where every value of the network keeps the batch as its first dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from shared.contracts import packed
from shared.contracts.errors import InvalidTensor, SuiteError
from shared.network import shapes
from shared.network.graph import Network
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType

PROBES = (3, 5)  # batches for which every value's first dimension must be the batch
VIEW_BYTES = 4096  # smaller arrays are cheaper to copy than to view


@dataclass(frozen=True, slots=True)
class Inlet:
    """One declared input: what the bytes of a call must be."""

    name: str
    dtype: Dtype
    tail: tuple[int, ...]  # shape without the first dimension
    rows: int | None  # None: as many as the caller likes
    row_size: int  # elements

    def read(self, head: packed.Head, body: memoryview, offset: int) -> Array:
        """The array that starts at `offset` of a call's body.

        Raises:
            InvalidTensor: the header is not this input's, or the body is too short.
        """
        if head.dtype != self.dtype or head.shape[1:] != self.tail or not self._takes(head.shape):
            raise InvalidTensor(f"input {self.name!r} is {self}, not {head.dtype} {head.shape}")
        count = head.shape[0] * self.row_size
        if offset + count * self.dtype.itemsize > len(body):
            raise InvalidTensor(f"input {self.name!r} of shape {head.shape} is cut short")
        array = np.frombuffer(body, self.dtype.numpy, count, offset)
        return array.reshape(head.shape)

    def __str__(self) -> str:
        first = "batch" if self.rows is None else str(self.rows)
        return f"{self.dtype} ({', '.join([first, *map(str, self.tail)])})"

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return len(shape) > 0 and shape[0] >= 0 and self.rows in (None, shape[0])


@dataclass(frozen=True, slots=True)
class Signature:
    """What calls of one network look like, and whether their rows may be joined."""

    inlets: Mapping[str, Inlet]
    outputs: tuple[str, ...]
    joins: bool


@dataclass(slots=True, eq=False)
class Item:
    """One call on its way to its answer."""

    call: packed.Call
    arrived: float  # [s] on the lane's clock
    arrays: Mapping[str, Array] = field(default_factory=dict)
    rows: int = 1
    answer: bytes | None = None

    def expired(self, now: float) -> bool:
        """Whether the caller has stopped waiting."""
        return 0.0 < self.call.budget < now - self.arrived

    def fail(self, error: SuiteError, worker: str) -> None:
        """Answer with an error."""
        self.answer = packed.item(
            packed.Answer(code=error.code, message=str(error), worker=worker), []
        )


def signature(network: Network) -> Signature:
    """Read a network's declared inputs.

    Raises:
        InvalidTensor: an input is not dense, or has no dimension; the lane cannot feed it.
    """
    inlets = {name: _inlet(name, kind) for name, kind in network.inputs.items()}
    return Signature(inlets, tuple(network.outputs), _joins(network))


def read(known: Signature, call: packed.Call, body: memoryview) -> tuple[dict[str, Array], int]:
    """The input arrays of a call (views of `body`) and its rows.

    Raises:
        InvalidTensor: an input is missing, unknown, of another type or size; the inputs disagree
            about the rows; or an unknown output is asked for.
    """
    arrays: dict[str, Array] = {}
    offset = 0
    for head in call.inputs:
        inlet = known.inlets.get(head.name)
        if inlet is None or head.name in arrays:
            raise InvalidTensor(f"inputs are {sorted(known.inlets)}, not {_names(call)}")
        arrays[head.name] = array = inlet.read(head, body, offset)
        offset += array.nbytes
    if len(arrays) != len(known.inlets):
        raise InvalidTensor(f"inputs are {sorted(known.inlets)}, not {_names(call)}")
    if offset != len(body):
        raise InvalidTensor(f"the inputs take {offset} bytes, {len(body)} came")
    if unknown := [name for name in call.outputs if name not in known.outputs]:
        raise InvalidTensor(f"no output {unknown[0]!r}; there are {', '.join(known.outputs)}")
    return arrays, _rows(known, arrays)


def batches(items: Sequence[Item], known: Signature, *, limit: int) -> list[list[Item]]:
    """Split calls of one network into runs of at most `limit` rows, in order; a larger call, and
    every call of a network that does not join, runs by itself."""
    made: list[list[Item]] = []
    room = 0
    for item in items:
        if not made or not known.joins or item.rows > room:
            made.append([])
            room = limit
        made[-1].append(item)
        room -= item.rows
    return made


def join(items: Sequence[Item], known: Signature) -> dict[str, Tensor]:
    """The inputs of one run: rows of all calls one after another, aligned in memory."""
    return {
        name: Tensor(Layout.DENSE, inlet.dtype, array.shape, {"values": array})
        for name, inlet in known.inlets.items()
        for array in [_joined([item.arrays[name] for item in items])]
    }


def split(
    items: Sequence[Item], outputs: Mapping[str, Tensor], *, started: float, run: float, worker: str
) -> None:
    """Answer every call with its own rows of the outputs.

    Args:
        started: when the run began, on the lane's clock [s].
        run: how long it took [s].
    """
    batch = sum(item.rows for item in items)
    first = 0
    for item in items:
        rows = slice(first, first + item.rows) if len(items) > 1 else slice(None)
        first += item.rows
        wanted = item.call.outputs or tuple(outputs)
        taken = [(name, outputs[name].dtype, outputs[name].values[rows]) for name in wanted]
        answer = packed.Answer(
            outputs=tuple(packed.Head(name, dtype, array.shape) for name, dtype, array in taken),
            batch=batch,
            queued=started - item.arrived,
            run=run,
            worker=worker,
        )
        item.answer = packed.item(answer, [_raw(array) for _, _, array in taken])


def _inlet(name: str, kind: TensorType) -> Inlet:
    tail = tuple(size for size in kind.shape[1:] if size is not None)
    if kind.layout is not Layout.DENSE or not kind.shape or len(tail) != len(kind.shape) - 1:
        raise InvalidTensor(f"input {name!r} is {kind.layout} {kind.shape}: use the durable lane")
    return Inlet(name, kind.dtype, tail, kind.shape[0], prod(tail))


def _joins(network: Network) -> bool:
    """Whether rows stay apart: every input, activation and output has the batch in front."""
    try:
        return all(
            bool(kind.shape) and kind.shape[0] == probe
            for probe in PROBES
            for name, kind in shapes.infer(network, probe).items()
            if name not in network.weights
        )
    except ValueError:
        return False


def _rows(known: Signature, arrays: Mapping[str, Array]) -> int:
    counts = {array.shape[0] for name, array in arrays.items() if known.inlets[name].rows is None}
    if len(counts) > 1:
        raise InvalidTensor(f"inputs disagree about the batch: {sorted(counts)} rows")
    return counts.pop() if counts else 1


def _joined(arrays: list[Array]) -> Array:
    if len(arrays) == 1 and arrays[0].flags.aligned:
        return arrays[0]
    return np.concatenate(arrays)


def _raw(array: Array) -> bytes | memoryview:
    if array.nbytes <= VIEW_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).data.cast("B")


def _names(call: packed.Call) -> list[str]:
    return sorted(head.name for head in call.inputs)
