"""The pure part of the interactive lane: calls in, one batch per artifact, answers out.

A call is held against its network before it joins a batch, so a bad one fails alone; rows are
joined only where every value of the network keeps the batch as its first dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple, Self

import numpy as np

from shared.contracts import packed
from shared.contracts.errors import InvalidTensor, SuiteError
from shared.network import shapes, streamed, streaming
from shared.network.graph import Network
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType

PROBES = (3, 5)  # batches for which every value's first dimension must be the batch
MAX_FORMS = 4096  # of calls remembered per network; a client has few


@dataclass(frozen=True, slots=True)
class Inlet:
    """One declared input: what the bytes of a call must be."""

    name: str
    dtype: Dtype
    tail: tuple[int, ...]  # shape without the first dimension
    rows: int | None  # None: as many as the caller likes
    row_size: int  # elements

    def place(self, head: packed.Head, offset: int) -> "Place":
        """Where the array of a header lies in its call's body, from `offset` [bytes] on.

        Raises:
            InvalidTensor: the header is not this input's.
        """
        if head.dtype != self.dtype or head.shape[1:] != self.tail or not self._takes(head.shape):
            raise InvalidTensor(f"input {self.name!r} is {self}, not {head.dtype} {head.shape}")
        return Place(self.name, self.dtype.numpy, head.shape, head.shape[0] * self.row_size, offset)

    def __str__(self) -> str:
        first = "batch" if self.rows is None else str(self.rows)
        return f"{self.dtype} ({', '.join([first, *map(str, self.tail)])})"

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return len(shape) > 0 and shape[0] >= 0 and self.rows in (None, shape[0])


class Place(NamedTuple):
    """Where one input lies in the body of a call."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    elements: int
    offset: int  # [bytes]

    @property
    def end(self) -> int:
        """First byte after it."""
        return self.offset + self.elements * self.dtype.itemsize


class Form(NamedTuple):
    """What is known of every call with the same headers; checked once."""

    places: tuple[Place, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Signature:
    """What calls of one network look like, and whether their rows may be joined."""

    inlets: Mapping[str, Inlet]
    outputs: tuple[str, ...]
    joins: bool
    spikes: tuple[str, ...] = ()  # inputs whose values are 0 or 1
    forms: dict[tuple[object, ...], Form] = field(default_factory=dict)  # of the calls seen


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
    return Signature(inlets, tuple(network.outputs), _joins(network), streaming.spikes(network))


def read(known: Signature, call: packed.Call, body: memoryview) -> tuple[dict[str, Array], int]:
    """The input arrays of a call (views of `body`) and its rows.

    Raises:
        InvalidTensor: an input is missing, unknown, of another type or size, or no spikes where it
            must be; the inputs disagree about the rows; or an unknown output is asked for.
    """
    key = (call.inputs, call.outputs, len(body))
    form = known.forms.get(key)
    if form is None:
        form = _form(known, call, len(body))
        if len(known.forms) >= MAX_FORMS:
            known.forms.clear()
        known.forms[key] = form
    arrays = {
        place.name: np.frombuffer(body, place.dtype, place.elements, place.offset).reshape(
            place.shape
        )
        for place in form.places
    }
    for name in known.spikes:
        _require_spikes(name, arrays[name])
    return arrays, form.rows


def _require_spikes(name: str, array: Array) -> None:
    try:
        streamed.require_spikes(name, array)
    except ValueError as error:
        raise InvalidTensor(str(error)) from None


def _form(known: Signature, call: packed.Call, size: int) -> Form:
    """Hold the headers of a call, and the size of its body, against the signature."""
    places: list[Place] = []
    for head in call.inputs:
        inlet = known.inlets.get(head.name)
        if inlet is None:
            raise InvalidTensor(f"inputs are {sorted(known.inlets)}, not {_names(call)}")
        places.append(inlet.place(head, places[-1].end if places else 0))
    if sorted(place.name for place in places) != sorted(known.inlets):
        raise InvalidTensor(f"inputs are {sorted(known.inlets)}, not {_names(call)}")
    taken = places[-1].end if places else 0
    if taken != size:
        raise InvalidTensor(f"the inputs take {taken} bytes, {size} came")
    if unknown := [name for name in call.outputs if name not in known.outputs]:
        raise InvalidTensor(f"no output {unknown[0]!r}; there are {', '.join(known.outputs)}")
    return Form(tuple(places), _rows(known, places))


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
    known = tuple(outputs)
    batch = sum(item.rows for item in items)
    whole = len(items) == 1
    views = {name: _View.of(name, tensor) for name, tensor in outputs.items()}
    heads: dict[tuple[tuple[str, ...], int], tuple[packed.Head, ...]] = {}
    first = 0
    for item in items:
        last = first + item.rows
        wanted = item.call.outputs or known
        key = (wanted, item.rows)
        if key not in heads:
            heads[key] = tuple(views[name].head(None if whole else item.rows) for name in wanted)
        answer = packed.Answer("", "", heads[key], batch, started - item.arrived, run, worker)
        body: list[bytes | memoryview] = [
            views[name].part(None if whole else slice(first, last)) for name in wanted
        ]
        item.answer = packed.item(answer, body)
        first = last


class _View(NamedTuple):
    """An output as bytes, to be cut by rows."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    row: int  # [bytes]
    raw: memoryview

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Self:
        held = np.ascontiguousarray(tensor.values)
        row = held.nbytes // held.shape[0] if held.ndim and held.shape[0] else 0
        return cls(name, tensor.dtype, held.shape, row, held.reshape(-1).view(np.uint8).data)

    def head(self, rows: int | None) -> packed.Head:
        """The header of that many rows; None: of everything, whatever its dimensions mean."""
        shape = self.shape if rows is None else (rows, *self.shape[1:])
        return packed.Head(self.name, self.dtype, shape)

    def part(self, rows: slice | None) -> memoryview:
        """The bytes of some rows."""
        return self.raw if rows is None else self.raw[rows.start * self.row : rows.stop * self.row]


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


def _rows(known: Signature, places: Sequence[Place]) -> int:
    counts = {place.shape[0] for place in places if known.inlets[place.name].rows is None}
    if len(counts) > 1:
        raise InvalidTensor(f"inputs disagree about the batch: {sorted(counts)} rows")
    return counts.pop() if counts else 1


def _joined(arrays: list[Array]) -> Array:
    if len(arrays) == 1 and arrays[0].flags.aligned:
        return arrays[0]
    return np.concatenate(arrays)


def _names(call: packed.Call) -> list[str]:
    return sorted(head.name for head in call.inputs)
