"""What leaves a connection: one write per turn of the loop, within the windows of the peer."""

import asyncio
from typing import Protocol

from services.gateway.http2 import frames, headers, messages
from services.gateway.http2.flow import Outbox, Outflow
from services.gateway.http2.frames import DEFAULT_FRAME, DEFAULT_WINDOW, Code

LARGEST = 2**18  # [bytes] of one DATA frame, so that streams take turns


class Outlet(Protocol):
    """What the writer knows of a stream."""

    number: int
    outflow: Outflow
    outbox: Outbox
    tail: bytes | None  # the end of the stream, once it is known and until it is sent

    def drained(self) -> None:
        """Some of the outbox was sent."""
        ...

    def sent(self) -> None:
        """The end of the stream was sent."""
        ...


class Writer:
    """Collects frames and hands them to the transport."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes | memoryview] = []
        self._due = False  # a flush will come
        self._ready: dict[int, Outlet] = {}  # streams with something to send and a window, in turn
        self._flow = Outflow(DEFAULT_WINDOW)
        self._frame = DEFAULT_FRAME
        self._paused = self._closed = False
        self.window = DEFAULT_WINDOW  # [bytes] of a stream that begins now

    def put(self, *parts: bytes | memoryview) -> None:
        """Send these bytes with the next flush, before everything put later."""
        self._parts += parts
        if not self._due:
            self._due = True
            self._loop.call_soon(self.flush)

    def hold(self) -> None:
        """The caller is going to flush: until then, nobody else will."""
        self._due = True

    def flush(self) -> None:
        """Write what was put."""
        self._due = False
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not (self._closed or self._transport.is_closing()):
                self._transport.write(data)

    def close(self) -> None:
        """Write what was put, and say that nothing follows. The socket stays open for reading: to
        close it with bytes unread would take back what the peer has not read yet."""
        self.flush()
        if not (self._closed or self._transport.is_closing()):
            try:
                self._transport.write_eof()
            except OSError:  # the peer has gone, and the loop has not said so yet
                self._transport.abort()
        self._closed = True

    def begin(self, outlet: Outlet) -> None:
        """Send the head of an answer."""
        self.put(frames.headers(outlet.number, headers.RESPONSE, end=False))

    def send(self, outlet: Outlet, data: bytes) -> None:
        """Send a message, or keep what does not fit into the windows now."""
        prefix = messages.prefix(len(data))
        size = len(prefix) + len(data)
        if outlet.outbox.size or size > self._room(outlet):
            outlet.outbox.put(prefix + data)
            self._ready[outlet.number] = outlet
            self.pump()
            return
        self._flow.left -= size
        outlet.outflow.left -= size
        self.put(frames.data_header(size, 0, outlet.number), prefix, data)

    def end(self, outlet: Outlet, tail: bytes) -> None:
        """Send the end of a stream after everything before it."""
        if outlet.outbox.size:
            outlet.tail = tail
        else:
            self.put(tail)
            outlet.sent()

    def forget(self, outlet: Outlet) -> None:
        """Nothing more of a stream is sent."""
        self._ready.pop(outlet.number, None)

    def reset(self, number: int, code: Code) -> None:
        """End a stream at once."""
        self.put(frames.reset(number, code))

    def widen(self, outlet: Outlet | None, size: int) -> bool:
        """The peer takes more, of a stream or in all; returns whether it may say so."""
        fits = (outlet.outflow if outlet else self._flow).widen(size)
        if outlet is not None and outlet.outbox.size:
            self._ready[outlet.number] = outlet
        self.pump()
        return fits

    def allow(self, frame: int) -> None:
        """The peer takes frames of so many bytes."""
        self._frame = min(frame, LARGEST)

    def pause(self) -> None:
        """The socket takes no more."""
        self._paused = True

    def resume(self) -> None:
        """It does again."""
        self._paused = False
        self.pump()

    def pump(self) -> None:
        """Send what waits, one frame of each stream in turn."""
        while self._ready and self._flow.left > 0 and not self._paused:
            number = next(iter(self._ready))
            outlet = self._ready.pop(number)
            self._send_frame(outlet, min(outlet.outflow.left, self._flow.left, self._frame))
            if outlet.outbox.size:
                if outlet.outflow.left > 0:
                    self._ready[number] = outlet
            elif outlet.tail is not None:
                tail, outlet.tail = outlet.tail, None
                self.put(tail)
                outlet.sent()

    def _send_frame(self, outlet: Outlet, room: int) -> None:
        if room <= 0:
            return
        part = outlet.outbox.take(room)
        self._flow.left -= len(part)
        outlet.outflow.left -= len(part)
        self.put(frames.data_header(len(part), 0, outlet.number), part)
        outlet.drained()

    def _room(self, outlet: Outlet) -> int:
        """Bytes that one frame may hold now."""
        if self._paused:
            return 0
        return min(outlet.outflow.left, self._flow.left, self._frame)
