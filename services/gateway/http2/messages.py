"""gRPC messages within the data of a stream: five bytes of prefix, then the message."""

import struct
import zlib
from typing import Final, NamedTuple

from shared.contracts.errors import InvalidMessage, TooLarge

PREFIX_BYTES: Final = 5
IDENTITY: Final = "identity"
ENCODINGS: Final = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}  # -> wbits of zlib
ACCEPTED: Final = ",".join((IDENTITY, *ENCODINGS))
_PREFIX = struct.Struct(">BI")


class Message(NamedTuple):
    """One message as it came."""

    data: bytes
    compressed: bool = False


class Assembler:
    """Cuts the data of one stream into messages. `held` is what it keeps of an unfinished one."""

    __slots__ = ("_compressed", "_limit", "_parts", "_wanted", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit  # [bytes] of one message
        self._parts: list[bytes] = []  # of the prefix until `_wanted` is known, then of the message
        self._wanted: int | None = None  # [bytes] of the message whose prefix has come
        self._compressed = False
        self.held = 0  # [bytes]

    @property
    def begun(self) -> bool:
        """Whether a message is unfinished."""
        return self._wanted is not None or bool(self._parts)

    def feed(self, data: bytes) -> list[Message]:
        """Take the next data; returns the messages that it completes.

        Raises:
            TooLarge: a message announces more than the limit; nothing of it need be kept.
            InvalidMessage: the prefix is none.
        """
        found: list[Message] = []
        while True:
            if self._wanted is None:
                data = self._read_prefix(data)
            if self._wanted is None or self.held + len(data) < self._wanted:
                break
            rest = self._wanted - self.held
            whole = data[:rest] if not self._parts else b"".join((*self._parts, data[:rest]))
            found.append(Message(whole, self._compressed))
            self._parts, self._wanted, self.held = [], None, 0
            data = data[rest:]
        if data:
            self._parts.append(data)
            self.held += len(data)
        return found

    def _read_prefix(self, data: bytes) -> bytes:
        """Learn how long the message is, if its prefix is complete; returns what follows it."""
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts, self.held = [], 0
        if len(data) < PREFIX_BYTES:
            return data
        flag, size = _PREFIX.unpack_from(data)
        if flag > 1:
            raise InvalidMessage(f"a message begins with {flag}, which is no compression flag")
        if size > self._limit:
            raise TooLarge(f"a message of {size} bytes; at most {self._limit} are taken")
        self._wanted, self._compressed = size, flag == 1
        return data[PREFIX_BYTES:]


def prefix(size: int) -> bytes:
    """What goes before a message of `size` bytes; ours are never compressed."""
    return _PREFIX.pack(0, size)


def inflate(data: bytes, encoding: str, limit: int) -> bytes:
    """A compressed message as it was.

    Raises:
        InvalidMessage: the bytes are not of the encoding, or the call named none.
        TooLarge: it is longer than `limit`; no more than that was unpacked.
    """
    if encoding not in ENCODINGS:
        raise InvalidMessage(f"a message is compressed, but grpc-encoding is {encoding!r}")
    unpacker = zlib.decompressobj(ENCODINGS[encoding])
    try:
        whole = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise InvalidMessage(f"a message does not unpack as {encoding}: {error}") from None
    if len(whole) > limit:
        raise TooLarge(f"a message unpacks to more than {limit} bytes")
    if not unpacker.eof:
        raise InvalidMessage(f"a message ends before its {encoding} stream does")
    return whole
