"""What parent and child say to each other, as MessagePack; arrays lie in shared memory beside it.

The parent sends a list of commands in one packet. Most are not answered; `Fetch` and `Meet` are,
once everything before them was done. What failed is told then, by the ids that it left unmade.
"""

from typing import Protocol

import msgspec
import numpy as np

from shared.operators.spec import Scalar
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor

TEXT = 4000  # characters of an error's text


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The form of every message: its fields in order behind its name."""


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """One array of a tensor: where it begins in the memory that the message speaks of."""

    name: str
    dtype: str  # as numpy spells it
    shape: tuple[int, ...]
    offset: int  # [bytes]


class Described(msgspec.Struct, frozen=True, array_like=True):
    """A tensor in shared memory."""

    layout: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Placed, ...]


class Open(Record, frozen=True):
    """Open the device, prove it, answer with Ready or Unusable."""

    settings: str  # JSON


class Keep(Record, frozen=True):
    """Copy a tensor to the device under an id; `alone`: it is in the memory sent along."""

    id: int
    tensor: Described
    alone: bool


class Run(Record, frozen=True):
    """Run an operator; its outputs get the given ids."""

    operator: str
    inputs: dict[str, int]
    attributes: dict[str, Scalar]
    outputs: dict[str, int]


class Drop(Record, frozen=True):
    """Free tensors."""

    ids: tuple[int, ...]


class Fetch(Record, frozen=True):
    """Copy a tensor back; answered with Fetched or Failed."""

    id: int


class Meet(Record, frozen=True):
    """Wait for everything before; answered with Met or Failed. `all`: for the device as well."""

    all: bool = True


class Adopt(Record, frozen=True):
    """Use tuned values from now on; not answered."""

    document: bytes  # JSON


class Ready(Record, frozen=True):
    """The device has proved itself."""

    name: str
    driver: str
    platform: str
    worker_class: str
    memory: int  # [bytes]
    operators: tuple[str, ...]
    doubles: bool
    facts: dict[str, int]  # for the log


class Unusable(Record, frozen=True):
    """There is no device, or it failed its test; with `final` trying again is vain."""

    code: str
    text: str
    fix: str
    final: bool


class Fetched(Record, frozen=True):
    """A tensor, at the start of the memory for answers, or `alone` in the memory sent along."""

    tensor: Described
    alone: bool


class Met(Record, frozen=True):
    """Everything before was done."""


class Failed(Record, frozen=True):
    """What went wrong first, and the id that it left without a tensor; None: the device itself."""

    kind: str  # name of the exception
    text: str
    id: int | None
    invalid: bool = False  # the call was wrong, not the device


Command = Open | Keep | Run | Drop | Fetch | Meet | Adopt
Answer = Ready | Unusable | Fetched | Met | Failed

Unreadable = msgspec.MsgspecError
encode = msgspec.msgpack.Encoder().encode
_commands = msgspec.msgpack.Decoder(list[Command])
_answer = msgspec.msgpack.Decoder(Answer)


def commands(packet: bytes) -> list[Command]:
    """Parse a packet from the parent."""
    return _commands.decode(packet)


def answer(packet: bytes) -> Answer:
    """Parse a packet from the child; raises Unreadable."""
    found: Answer = _answer.decode(packet)
    return found


class Room(Protocol):
    """Memory in which arrays can be put."""

    def put(self, array: Array) -> int:
        """Copy an array in; returns its offset [bytes]."""
        ...


def describe(tensor: Tensor, room: Room) -> Described:
    """Copy a tensor into shared memory and say where it is."""
    parts = tuple(
        Placed(name, array.dtype.str, array.shape, room.put(array))
        for name, array in tensor.parts.items()
    )
    return Described(tensor.layout.value, tensor.dtype.value, tensor.shape, parts)


def tensor(described: Described, memory: memoryview) -> Tensor:
    """The tensor whose arrays are views of `memory`."""
    parts = {part.name: _view(part, memory) for part in described.parts}
    return Tensor(Layout(described.layout), Dtype(described.dtype), described.shape, parts)


def _view(part: Placed, memory: memoryview) -> Array:
    kind = np.dtype(part.dtype)
    count = int(np.prod(part.shape, dtype=np.int64))
    view: Array = np.frombuffer(memory, kind, count, part.offset).reshape(part.shape)
    return view
