"""A peer that speaks HTTP/2 frame by frame, well or badly, and a server with methods of a test."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import hpack

from services.gateway.admission import Admission
from services.gateway.app import App
from services.gateway.front import Methods
from services.gateway.http2 import frames, messages
from services.gateway.http2.frames import Code, Setting
from services.gateway.http2.server import Server
from services.gateway.http2.splitter import FRAME
from services.gateway.limits import Limits
from services.gateway.metrics import Metrics
from shared.contracts import wire

UNARY = f"/{wire.INFERENCE}/ModelInfer"
BOTH = f"/{wire.INFERENCE}/ModelStreamInfer"
DOWN = f"/{wire.JOBS}/Download"
UP = f"/{wire.JOBS}/Upload"
PATIENCE = 10.0  # [s] for a frame that must come


@asynccontextmanager
async def served(methods: Methods, limits: Limits | None = None) -> AsyncIterator[Server]:
    """A server with these methods; nothing that it did may be left when it has stopped."""
    failures: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: failures.append(context))
    bounds = limits or Limits()
    server = Server(App(methods, Admission(bounds), Metrics(), bounds), bounds, listen="[::1]:0")
    before = asyncio.all_tasks()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert server._floor is not None
    assert (server._floor.open, server._floor.held) == (0, 0)
    assert not server._connections
    assert not asyncio.all_tasks() - before
    assert failures == []


@dataclass(eq=False)
class Answer:
    """What a stream was answered."""

    heads: list[dict[str, str]] = field(default_factory=list)  # header blocks
    data: bytes = b""
    reset: Code | None = None

    @property
    def end(self) -> dict[str, str]:
        """The last header block."""
        return self.heads[-1]

    @property
    def messages(self) -> list[bytes]:
        """The messages of the data."""
        return [found.data for found in messages.Assembler(2**30).feed(self.data)]


class Peer:
    """One connection. It grants no windows unless told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self.seen: list[tuple[int, int, int, bytes]] = []  # kind, flags, stream, payload

    @classmethod
    async def connect(cls, server: Server, *, greet: bool = True) -> Self:
        """Open a connection; `greet` sends the preface and empty SETTINGS."""
        peer = cls(*await asyncio.open_connection("::1", server.port))
        if greet:
            peer.put(frames.PREFACE, frames.settings({}))
        return peer

    def put(self, *parts: bytes) -> None:
        """Send bytes."""
        self.writer.write(b"".join(parts))

    def block(self, fields: Mapping[str, str]) -> bytes:
        """A header block; the table of the connection changes."""
        return self._encoder.encode(list(fields.items()))

    def headers(
        self, number: int, path: str = UNARY, *, end: bool = False, **fields: str | None
    ) -> bytes:
        """The head of a request; a field of None is left out."""
        whole = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
        whole |= {"te": "trailers", "content-type": "application/grpc"}
        for name, value in fields.items():
            key = name.replace("_", "-").replace("pseudo-", ":")
            whole.pop(key, None)
            if value is not None:
                whole[key] = value
        ordered = sorted(whole.items(), key=lambda item: not item[0].startswith(":"))
        return frames.headers(number, self.block(dict(ordered)), end=end)

    @staticmethod
    def message(number: int, data: bytes, *, end: bool = True, flag: int = 0) -> bytes:
        """A message in DATA frames."""
        payload = bytes([flag]) + messages.prefix(len(data))[1:] + data
        parts = [payload[start : start + FRAME] for start in range(0, len(payload), FRAME)]
        last = frames.END_STREAM if end else 0
        made = [frames.frame(frames.DATA, 0, number, part) for part in parts[:-1]]
        return b"".join([*made, frames.frame(frames.DATA, last, number, parts[-1])])

    def call(self, number: int, data: bytes = b"", path: str = UNARY, **fields: str | None) -> None:
        """Send a whole unary call."""
        self.put(self.headers(number, path, **fields), self.message(number, data))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame.

        Raises:
            IncompleteReadError: the connection was closed.
        """
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readexactly(frames.HEADER_BYTES)
            length, kind, flags, stream = frames.header(head, 0)
            payload = await self.reader.readexactly(length)
        self.seen.append((kind, flags, stream, payload))
        return self.seen[-1]

    async def until(self, kind: int, stream: int = 0, *, ack: bool = False) -> bytes:
        """Read up to a frame of this kind; returns its payload."""
        while True:
            found, flags, number, payload = await self.frame()
            acknowledges = bool(flags & frames.ACK) or kind not in (frames.SETTINGS, frames.PING)
            if (found, number) == (kind, stream) and (not ack or acknowledges):
                return payload

    async def answers(self, *numbers: int) -> dict[int, Answer]:
        """Read until each of these streams has ended; the others are dropped."""
        found = {number: Answer() for number in numbers}
        open_streams = set(numbers)
        while open_streams:
            kind, flags, number, payload = await self.frame()
            if kind == frames.HEADERS:
                pairs = dict(self._decoder.decode(payload))
                if number in found:
                    found[number].heads.append(pairs)
            elif kind == frames.DATA and number in found:
                found[number].data += payload
            elif kind == frames.RST_STREAM and number in found:
                found[number].reset = Code(frames.number_of(payload))
                open_streams.discard(number)
            if flags & frames.END_STREAM and kind in (frames.HEADERS, frames.DATA):
                open_streams.discard(number)
        return found

    async def answer(self, number: int = 1) -> Answer:
        """What one stream is answered."""
        return (await self.answers(number))[number]

    async def goaway(self) -> Code:
        """Why the server ends the connection; it is closed then."""
        payload = await self.until(frames.GOAWAY)
        rest = await asyncio.wait_for(self.reader.read(), PATIENCE)
        assert rest == b""
        return Code(int.from_bytes(payload[4:8]))

    async def ping(self) -> None:
        """Wait until everything sent before was handled."""
        self.put(frames.frame(frames.PING, 0, 0, b"12345678"))
        assert await self.until(frames.PING, ack=True) == b"12345678"

    async def close(self) -> None:
        """Leave."""
        self.writer.close()


@asynccontextmanager
async def connected(server: Server, *, greet: bool = True) -> AsyncIterator[Peer]:
    """A connection for the length of a block."""
    peer = await Peer.connect(server, greet=greet)
    try:
        yield peer
    finally:
        await peer.close()


WINDOW = Setting.INITIAL_WINDOW_SIZE
