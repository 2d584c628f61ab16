"""One connection: frames held against the protocol, calls fed."""

import asyncio
import socket
from typing import Final, cast

from services.gateway.faults import Fault, Status
from services.gateway.http2 import frames, headers
from services.gateway.http2.exchange import Exchange, Floor
from services.gateway.http2.flow import Allowance, Inflow
from services.gateway.http2.frames import Breach, Code, Setting, StreamBreach
from services.gateway.http2.headers import HARD, Reader, Refusal, Request
from services.gateway.http2.splitter import FRAME, Frame, Splitter
from services.gateway.http2.writer import Writer
from shared.contracts.errors import SuiteError

FRAGMENTS: Final = 64  # CONTINUATION frames of one block
BURST, RATE = 2000.0, 1000.0  # frames that bring nothing: at once, and per second
KIB: Final = 1024  # [bytes] of a block that is too large cost as much as one frame
WRITE_BUFFER: Final = 2**20  # [bytes] for a peer that reads slowly, before it is read no more
STALLED: Final = 30.0  # [s] that a peer may leave its socket unread
LINGER: Final = 2.0  # [s] for the last bytes before the socket is closed by force
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # [s, s, probes]


class Connection(asyncio.Protocol):
    """The protocol of one socket."""

    _transport: asyncio.Transport
    _writer: Writer

    def __init__(self, floor: Floor, connections: "set[Connection]") -> None:
        """`connections` holds this one while it is open."""
        self._floor, self._connections = floor, connections
        self._loop = floor.loop
        self._splitter = Splitter(HARD * floor.limits.metadata)
        self._reader = Reader(floor.limits.metadata)
        self._inflow = Inflow(floor.limits.connection_window)
        self._allowance = Allowance(BURST, RATE, self._loop.time())
        self._exchanges: dict[int, Exchange] = {}
        self._settled = False  # the peer's first SETTINGS have come
        self._leaving = self._closing = False
        self._last = 0  # the highest stream that the peer has opened
        self._heading: Frame | None = None  # HEADERS that CONTINUATION goes on with
        self._fragments: list[bytes] = []
        self._patience: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()  # set when the socket is gone
        self._handlers = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_nothing,  # it ends what is open, and leaves by itself
            frames.WINDOW_UPDATE: self._on_window,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say at once what we take."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        self._transport, self._writer = transport, Writer(transport, self._loop)
        transport.set_write_buffer_limits(WRITE_BUFFER)
        _configure(transport.get_extra_info("socket"))
        self._connections.add(self)
        limits = self._floor.limits
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
            Setting.MAX_FRAME_SIZE: FRAME,
            Setting.MAX_HEADER_LIST_SIZE: limits.metadata,
        }
        more = limits.connection_window - frames.DEFAULT_WINDOW
        self._writer.put(frames.settings(ours), frames.window_update(0, more))
        self._expect(limits.handshake)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more for what is open."""
        self._closing = True
        self._arrived()
        self._connections.discard(self)
        self.lost.set()
        for exchange in list(self._exchanges.values()):
            exchange.close()

    def data_received(self, data: bytes) -> None:
        """Act on every frame, then write all that came of it at once."""
        if self._closing:
            return
        self._writer.hold()
        try:
            for frame in self._splitter.feed(data):
                self._on_frame(frame)
        except Breach as breach:
            self._end(breach.code, str(breach))
        self._writer.flush()

    def pause_writing(self) -> None:
        """The peer does not read: neither do we, so that nothing piles up."""
        self._writer.pause()
        if not self._closing:
            self._transport.pause_reading()
            self._arrived()
            self._patience = self._loop.call_later(STALLED, self._transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._arrived()
        if not self._closing:
            self._transport.resume_reading()
        self._writer.resume()

    def leave(self) -> None:
        """Take no more calls; close after the last one that is open."""
        if not (self._leaving or self._closing):
            self._leaving = True
            self._writer.put(frames.goaway(self._last, Code.NO_ERROR))
            self._close_if_done()

    def abandon(self, error: SuiteError) -> None:
        """End what is open with an error, and close."""
        for exchange in list(self._exchanges.values()):
            exchange.abandon(error)
        self._close()

    def _on_frame(self, frame: Frame) -> None:
        if self._heading is not None:
            self._on_continuation(frame)
        elif not self._settled and frame.kind != frames.SETTINGS:
            raise Breach(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        elif frame.kind == frames.CONTINUATION:
            raise Breach(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        elif not self._closing:
            try:
                self._handlers.get(frame.kind, self._on_nothing)(frame)
            except StreamBreach as breach:
                self._drop(frame.stream, breach.code)

    def _on_data(self, frame: Frame) -> None:
        self._inflow.take(frame.size)
        if size := self._inflow.grant():
            self._writer.put(frames.window_update(0, size))
        final = frame.flags & frames.END_STREAM
        if not (frame.payload or final):
            self._on_nothing(frame)
        exchange = self._exchanges.get(frame.stream)
        if exchange is None:
            self._require_known(frame)
        elif exchange.ended:
            raise StreamBreach(Code.STREAM_CLOSED, "DATA after the end of its stream")
        else:
            exchange.inflow.take(frame.size)
            exchange.receive(frame.payload)
            if final:
                exchange.end()

    def _on_headers(self, frame: Frame) -> None:
        block = frames.block_of(frame.flags, frame.payload)
        if frame.flags & frames.END_HEADERS:
            self._on_block(frame, block)
        else:
            self._heading, self._fragments = frame, [block]
            self._expect(self._floor.limits.handshake)

    def _on_continuation(self, frame: Frame) -> None:
        heading = self._heading
        if heading is None or (frame.kind, frame.stream) != (frames.CONTINUATION, heading.stream):
            raise Breach(Code.PROTOCOL_ERROR, "a header block is not complete")
        self._fragments.append(frame.payload)
        size = sum(map(len, self._fragments))
        if size > HARD * self._floor.limits.metadata or len(self._fragments) > FRAGMENTS:
            raise Breach(Code.ENHANCE_YOUR_CALM, "a header block without end")
        if frame.flags & frames.END_HEADERS:
            block, self._heading, self._fragments = b"".join(self._fragments), None, []
            self._arrived()
            try:
                self._on_block(heading, block)
            except StreamBreach as breach:
                self._drop(heading.stream, breach.code)

    def _on_block(self, frame: Frame, block: bytes) -> None:
        """Open a stream, or end one: a second block is the trailers of a request."""
        number, final = frame.stream, bool(frame.flags & frames.END_STREAM)
        if len(block) > self._floor.limits.metadata:
            self._allowance.spend(self._loop.time(), len(block) / KIB)
        if number <= self._last:
            self._reader.decode(block)
            self._on_trailers(number, final=final)
            return
        if not number % 2:
            raise Breach(Code.PROTOCOL_ERROR, f"stream {number} is not the peer's to open")
        if self._leaving:
            self._reader.decode(block)  # it knows by our GOAWAY that this is not served
            return
        self._last = number
        request = self._reader.read(block)
        if len(self._exchanges) >= self._floor.limits.streams:
            raise StreamBreach(Code.REFUSED_STREAM, "too many streams")
        self._open(number, request, final=final)

    def _on_trailers(self, number: int, *, final: bool) -> None:
        exchange = self._exchanges.get(number)
        if exchange is not None:
            if not final or exchange.ended:
                raise StreamBreach(Code.PROTOCOL_ERROR, "headers within the body of a request")
            exchange.end()

    def _open(self, number: int, request: Request, *, final: bool) -> None:
        refusal = request.refusal
        if refusal is None and request.path not in self._floor.endpoints:
            text = f"no method {request.path[:200]!r} is served here"
            refusal = Refusal(fault=Fault(Status.UNIMPLEMENTED, "", text, ()))
        if refusal is not None:
            self._refuse(number, refusal, final=final)
            return
        exchange = Exchange(number, request, self._floor, self._writer, self._forget)
        self._exchanges[number] = exchange
        exchange.open()
        if final:
            exchange.end()

    def _refuse(self, number: int, refusal: Refusal, *, final: bool) -> None:
        self._writer.put(frames.headers(number, headers.only_trailers(refusal), end=True))
        if not final:
            self._writer.reset(number, Code.NO_ERROR)

    def _on_reset(self, frame: Frame) -> None:
        self._on_nothing(frame)
        self._require_known(frame)
        exchange = self._exchanges.get(frame.stream)
        if exchange is not None:
            exchange.close()

    def _on_settings(self, frame: Frame) -> None:
        if frame.flags & frames.ACK:
            if frame.payload:
                raise Breach(Code.FRAME_SIZE_ERROR, "an acknowledgement with content")
            return
        self._on_nothing(frame)
        if not self._settled:
            self._settled = True
            self._arrived()
        theirs = frames.settings_of(frame.payload)
        self._writer.put(frames.settings_ack())
        if Setting.MAX_FRAME_SIZE in theirs:
            self._writer.allow(theirs[Setting.MAX_FRAME_SIZE])
        if Setting.INITIAL_WINDOW_SIZE in theirs:
            self._resize(theirs[Setting.INITIAL_WINDOW_SIZE])

    def _resize(self, window: int) -> None:
        """Streams begin with another window, and those that are open have begun with it, too."""
        difference = window - self._writer.window
        self._writer.window = window
        for exchange in list(self._exchanges.values()):
            if not self._writer.widen(exchange, difference):
                raise Breach(Code.FLOW_CONTROL_ERROR, f"a window of {exchange.outflow.left} bytes")

    def _on_ping(self, frame: Frame) -> None:
        self._on_nothing(frame)
        if not frame.flags & frames.ACK:
            self._writer.put(frames.ping_ack(frame.payload))

    def _on_window(self, frame: Frame) -> None:
        size = frames.number_of(frame.payload)
        exchange = self._exchanges.get(frame.stream)
        if frame.stream and exchange is None:
            self._require_known(frame)
        elif size and self._writer.widen(exchange, size):
            return
        elif exchange is not None:
            raise StreamBreach(Code.FLOW_CONTROL_ERROR, f"a window grows by {size} bytes")
        else:
            raise Breach(Code.FLOW_CONTROL_ERROR, f"the window grows by {size} bytes")

    def _on_nothing(self, _frame: Frame) -> None:
        """Count a frame that costs us and brings nothing; kinds that are not known are ignored."""
        self._allowance.spend(self._loop.time())

    def _require_known(self, frame: Frame) -> None:
        """Frames of a stream that has ended may still be on their way; others must have begun."""
        if frame.stream > self._last and not self._leaving:
            raise Breach(Code.PROTOCOL_ERROR, f"kind {frame.kind} on idle stream {frame.stream}")

    def _drop(self, number: int, code: Code) -> None:
        """End one stream for what its peer did."""
        self._allowance.spend(self._loop.time())
        self._writer.reset(number, code)
        exchange = self._exchanges.get(number)
        if exchange is not None:
            exchange.close()

    def _forget(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange.number, None)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._leaving and not self._exchanges:
            self._close()

    def _end(self, code: Code, why: str) -> None:
        """The connection cannot go on."""
        self._writer.put(frames.goaway(self._last, code, why))
        self._closing = True
        for exchange in list(self._exchanges.values()):
            exchange.close()
        self._close()

    def _close(self) -> None:
        """Let the peer read the last bytes, and close when it does."""
        self._closing = True
        self._writer.close()
        self._arrived()
        self._patience = self._loop.call_later(LINGER, self._transport.abort)

    def _expect(self, seconds: float) -> None:
        """Something must arrive within this time."""
        self._arrived()
        self._patience = self._loop.call_later(seconds, self._give_up)

    def _arrived(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._end(Code.SETTINGS_TIMEOUT, "the peer keeps us waiting")
        self._writer.flush()


def _configure(sock: socket.socket | None) -> None:
    """Send at once, and notice a peer that is gone without a word."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
