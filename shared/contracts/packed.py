"""The lean frame between gateway and workers: many calls in one message, answered in order.

Layout of a message: for each item ``u32 header bytes | u32 body bytes | header | body``, little
endian; the header is msgpack, the body is the raw tensors one after another. No user sees this.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from shared.contracts.errors import InvalidMessage

_LENGTHS = struct.Struct("<II")
MAX_ITEMS = 1024
T = TypeVar("T")


class Head(msgspec.Struct, array_like=True, frozen=True):
    """Name, dtype (of shared.tensors.dtypes) and shape of one raw tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Call(msgspec.Struct, array_like=True, frozen=True):
    """One inference: which artifact, on what, and how long it may still take."""

    artifact: str  # sha256
    inputs: tuple[Head, ...]
    outputs: tuple[str, ...] = ()  # empty: all
    budget: float = 0.0  # [s]; 0 means no deadline


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """Its reply. `code` is empty on success, else a code of the error catalogue."""

    code: str = ""
    message: str = ""
    outputs: tuple[Head, ...] = ()
    batch: int = 0  # rows of the product that served it
    queued: float = 0.0  # [s]
    run: float = 0.0  # [s]
    worker: str = ""


_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(Call)
_answers = msgspec.msgpack.Decoder(Answer)


def item(header: Call | Answer, body: Sequence[bytes | memoryview]) -> bytes:
    """Encode one item; items are concatenated to make a message."""
    head = _encoder.encode(header)
    return b"".join([_LENGTHS.pack(len(head), sum(map(len, body))), head, *body])


def calls(data: bytes) -> Iterator[tuple[Call, memoryview]]:
    """Iterate over the calls of a message.

    Raises:
        InvalidMessage: lengths or headers do not fit the bytes.
    """
    for head, body in _items(data):
        yield _decode(_calls, head), body


def answers(data: bytes) -> Iterator[tuple[Answer, memoryview]]:
    """Iterate over the answers of a reply; raises like `calls`."""
    for head, body in _items(data):
        yield _decode(_answers, head), body


def _decode(decoder: "msgspec.msgpack.Decoder[T]", head: memoryview) -> T:
    try:
        return decoder.decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(f"packed header: {error}") from None


def _items(data: bytes) -> Iterator[tuple[memoryview, memoryview]]:
    view, offset, count = memoryview(data), 0, 0
    while offset < len(view):
        count += 1
        if count > MAX_ITEMS or offset + _LENGTHS.size > len(view):
            raise InvalidMessage(f"packed item {count} does not fit in {len(view)} bytes")
        head, body = _LENGTHS.unpack_from(view, offset)
        start = offset + _LENGTHS.size
        offset = start + head + body
        if offset > len(view):
            raise InvalidMessage(f"packed item {count} claims {head + body} bytes, fewer are left")
        yield view[start : start + head], view[start + head : offset]
