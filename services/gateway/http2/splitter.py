"""Bytes of a connection into frames, whatever pieces they come in."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from services.gateway.http2 import frames
from services.gateway.http2.frames import HEADER_BYTES, Breach, Code

FRAME: Final = 2**20  # [bytes] of the largest frame that we take


class Frame(NamedTuple):
    """A frame; of a DATA frame, the part that has come, as if the peer had sent a smaller one."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    size: int  # [bytes] that it takes of the windows: with padding, if any


class Splitter:
    """Keeps what is incomplete: at most one frame that is not DATA."""

    __slots__ = (
        "_data",
        "_flags",
        "_greeted",
        "_most",
        "_overhead",
        "_padding",
        "_parts",
        "_size",
        "_stream",
        "_wanted",
    )

    def __init__(self, most: int) -> None:
        self._most = most  # [bytes] of a frame that is not DATA
        self._parts: list[bytes] = []  # not yet understood
        self._size = self._wanted = 0  # [bytes] of it, and how many would be
        self._greeted = False  # the preface has come
        self._stream = self._flags = 0  # of the DATA frame that is coming in
        self._data = self._padding = self._overhead = 0  # [bytes] of it that have not come

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Every frame that these bytes complete.

        Raises:
            Breach: the bytes are not HTTP/2, or a frame is too large or misshapen.
        """
        if self._parts:
            self._parts.append(data)
            self._size += len(data)
            if self._size < self._wanted:
                return
            data = b"".join(self._parts)
        offset = 0 if self._greeted else self._greet(data)
        while (found := self._next(data, offset)) is not None:
            frame, offset = found
            yield frame
        self._parts = [data[offset:]] if offset < len(data) else []
        self._size = len(data) - offset

    def _greet(self, data: bytes) -> int:
        """Where the frames begin: after the preface, or at 0 while that is not complete."""
        preface = frames.PREFACE
        if not preface.startswith(data[: len(preface)]):
            raise Breach(Code.PROTOCOL_ERROR, "this is not HTTP/2 with prior knowledge")
        self._greeted = len(data) >= len(preface)
        return len(preface) if self._greeted else 0

    def _next(self, data: bytes, offset: int) -> tuple[Frame, int] | None:
        """The frame at `offset` and where the next one begins; None when more bytes are needed."""
        left, self._wanted = len(data) - offset, HEADER_BYTES
        if self._data or self._padding:
            return self._part(data, offset) if left else None
        if left < HEADER_BYTES or not self._greeted:
            return None
        length, kind, flags, stream = frames.header(data, offset)
        if length > (FRAME if kind == frames.DATA else self._most):
            code = Code.ENHANCE_YOUR_CALM if length <= FRAME else Code.FRAME_SIZE_ERROR
            raise Breach(code, f"frame of kind {kind} with {length} bytes")
        frames.require_sense(kind, length, stream)
        if kind == frames.DATA:
            self._flags, self._stream = flags, stream
            enough = left > HEADER_BYTES or not length  # the length of the padding comes first
            return self._begin(data, offset + HEADER_BYTES, length) if enough else None
        stop = offset + HEADER_BYTES + length
        if stop > len(data):
            self._wanted += length
            return None
        return Frame(kind, flags, stream, data[offset + HEADER_BYTES : stop], length), stop

    def _begin(self, data: bytes, start: int, length: int) -> tuple[Frame, int]:
        """The first part of a DATA frame whose payload begins at `start`, perhaps all of it."""
        stop = start + length
        if not self._flags & frames.PADDED:
            if stop <= len(data):
                payload = data[start:stop]
                return Frame(frames.DATA, self._flags, self._stream, payload, length), stop
            self._data, self._padding, self._overhead = length, 0, 0
            return self._part(data, start)
        self._padding, self._overhead = data[start] if length else frames.MAX_FRAME, 1
        self._data = length - self._padding - self._overhead
        if self._data < 0:
            raise Breach(Code.PROTOCOL_ERROR, "the padding is longer than its frame")
        return self._part(data, start + self._overhead)

    def _part(self, data: bytes, offset: int) -> tuple[Frame, int]:
        """What has come of the DATA frame; its flags go with the last part."""
        stop = min(offset + self._data, len(data))
        end = min(stop + self._padding, len(data)) if stop - offset == self._data else stop
        self._data -= stop - offset
        self._padding -= end - stop
        flags = 0 if self._data or self._padding else self._flags
        size = end - offset + self._overhead
        self._overhead = 0
        whole = offset == 0 and stop == len(data)
        payload = data if whole else data[offset:stop]
        return Frame(frames.DATA, flags, self._stream, payload, size), end
