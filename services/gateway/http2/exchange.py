"""One call on its connection: its messages in, the method that answers it, its messages out."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf
from typing import Final

import structlog

from services.gateway import faults
from services.gateway.app import Refused
from services.gateway.faults import Busy, Fault
from services.gateway.front import Call, Stream, Unary
from services.gateway.http2 import frames, headers
from services.gateway.http2.flow import EASE, Inflow, Outbox, Outflow
from services.gateway.http2.frames import Code
from services.gateway.http2.headers import Refusal, Request
from services.gateway.http2.requests import Requests
from services.gateway.http2.writer import Writer
from services.gateway.limits import Limits
from shared.contracts.errors import DeadlineExceeded, SuiteError

BACKLOG: Final = 2**20  # [bytes] of messages that a method has not taken before the peer must wait
SLACK: Final = 0.02  # [s] past the deadline: a method that ends by itself says more
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method as it is served: either `unary` or `stream`."""

    unary: Unary | None = None
    stream: Stream | None = None
    client_streams: bool = False


@dataclass(slots=True, eq=False)
class Floor:
    """What all connections of a server share."""

    endpoints: dict[str, Endpoint]
    limits: Limits
    loop: asyncio.AbstractEventLoop  # kept: asking for it is a system call
    group: asyncio.TaskGroup  # owns the calls
    refused: Callable[[str, SuiteError], Refused]  # counts it, too
    held: int = 0  # bytes that have come and that no method has taken yet
    open: int = 0  # calls
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever the last call ends


class Exchange:
    """A call from its head to its end. The connection feeds it; it answers through the writer."""

    __slots__ = (
        "_answered",
        "_begun",
        "_closed",
        "_ease",
        "_endpoint",
        "_floor",
        "_forget",
        "_held",
        "_requests",
        "_task",
        "_timer",
        "_writer",
        "call",
        "ended",
        "inflow",
        "number",
        "outbox",
        "outflow",
        "tail",
    )

    def __init__(
        self,
        number: int,
        request: Request,
        floor: Floor,
        writer: Writer,
        forget: Callable[["Exchange"], None],
    ) -> None:
        """`forget` is called once, when the call is over."""
        limits, timeout = floor.limits, request.timeout
        deadline = inf if timeout is None else floor.loop.time() + timeout
        self.call = Call(request.path, request.metadata, deadline)
        self.number, self._floor, self._writer, self._forget = number, floor, writer, forget
        self._endpoint = floor.endpoints[request.path]
        self._requests = Requests(limits.message, request.encoding, self._taken)
        self.inflow, self.outflow = Inflow(limits.stream_window), Outflow(writer.window)
        self.outbox = Outbox()
        self.tail: bytes | None = None
        self.ended = False  # the peer sends no more
        self._begun = self._answered = self._closed = False
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        self._ease: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin; a method that takes a stream begins with it."""
        self._floor.open += 1
        self._floor.idle.clear()
        if self.call.deadline != inf:
            self._timer = self._floor.loop.call_at(self.call.deadline + SLACK, self._expire)
        if self._endpoint.client_streams:
            self._start()

    def receive(self, data: bytes) -> None:
        """Take data of the stream."""
        if self._answered:
            return
        try:
            self._requests.feed(data)
            self._require_room()
        except SuiteError as error:
            self._give_up(error)
            return
        if not self.ended:
            self._grant()

    def end(self) -> None:
        """The peer sends no more."""
        self.ended = True
        if self._answered:
            return
        try:
            self._requests.end()
            if not self._endpoint.client_streams:
                self._requests.require_one()
                self._start()
        except SuiteError as error:
            self._give_up(error)

    def refuse(self, fault: Fault) -> None:
        """End the call with an error, after what was answered so far; the first end counts."""
        if self._answered:
            return
        self._answered = True
        if self._begun:
            block = headers.trailers(fault)
        else:
            block = headers.only_trailers(Refusal(fault=fault))
        self._writer.end(self, frames.headers(self.number, block, end=True))

    def abandon(self, error: SuiteError) -> None:
        """End the call now, whatever it is doing."""
        if self._answered or self.outbox.size:
            self._writer.reset(self.number, Code.CANCEL)
            self.close()
        else:
            self._give_up(error)

    def close(self) -> None:
        """Nobody waits for the call any more."""
        if self._closed:
            return
        self._closed = self._answered = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._floor.held -= self._held
        self._held = 0
        self._floor.open -= 1
        if not self._floor.open:
            self._floor.idle.set()
        self._requests.close()
        self._writer.forget(self)
        self._forget(self)

    def drained(self) -> None:
        """Some of the outbox was sent."""
        if self._ease is not None and not self._ease.done() and self.outbox.size <= EASE:
            self._ease.set_result(None)

    def sent(self) -> None:
        """The end was sent; what the peer still sends is not read."""
        if not self.ended:
            self._writer.reset(self.number, Code.NO_ERROR)
        self.close()

    def _start(self) -> None:
        self._task = self._floor.group.create_task(self._run())

    async def _run(self) -> None:
        """The edge of a call: however the method ends, the peer is told."""
        fault: Fault | None = None
        try:
            if self._endpoint.unary is not None:
                data = await self._requests.plain(self._requests.take())
                self._send(await self._endpoint.unary(self.call, data))
            elif self._endpoint.stream is not None:
                await self._converse(self._endpoint.stream)
        except Refused as refused:
            fault = refused.fault
        except SuiteError as error:  # of the transport: a message that does not unpack
            fault = self._floor.refused(self.call.method, error).fault
        except asyncio.CancelledError:
            self._task = None
            self.refuse(faults.unexpected())  # without effect unless the method cancelled itself
            raise
        except Exception as error:  # the edge reports what it cannot name, and says so
            log.error("call.broken", method=self.call.method, exc_info=error)
            fault = faults.unexpected()
        self._task = None
        if fault is None:
            self._finish()
        else:
            self.refuse(fault)

    async def _converse(self, method: Stream) -> None:
        async with aclosing(method(self.call, self._requests)) as answers:
            async for answer in answers:
                self._send(answer)
                if self.outbox.size > EASE:
                    self._ease = self._floor.loop.create_future()
                    await self._ease

    def _send(self, data: bytes) -> None:
        if self._answered:
            return
        if not self._begun:
            self._begun = True
            self._writer.begin(self)
        self._writer.send(self, data)

    def _finish(self) -> None:
        if not self._answered:
            self._answered = True
            if not self._begun:
                self._begun = True
                self._writer.begin(self)
            self._writer.end(self, frames.headers(self.number, headers.SUCCESS, end=True))

    def _give_up(self, error: SuiteError) -> None:
        """Refuse the call, and stop its method if that has begun; once, so that it can clean up."""
        task, self._task = self._task, None
        self.refuse(self._floor.refused(self.call.method, error).fault)
        if task is not None:
            task.cancel()

    def _expire(self) -> None:
        text = f"{self.call.method} did not end in the time of the call"
        self.abandon(DeadlineExceeded(text))

    def _taken(self) -> None:
        """The method has taken a message: the peer may send more."""
        if not self._closed:
            self._account()
            if not self.ended:
                self._grant()

    def _grant(self) -> None:
        if self._requests.waiting <= BACKLOG and (size := self.inflow.grant()):
            self._writer.put(frames.window_update(self.number, size))

    def _account(self) -> None:
        size = self._requests.size
        self._floor.held += size - self._held
        self._held = size

    def _require_room(self) -> None:
        """Count what is in memory.

        Raises:
            Busy: that is more than the server may hold.
        """
        self._account()
        held, most = self._floor.held, self._floor.limits.in_flight
        if held > most:
            raise Busy(f"messages on their way in take {held} of {most} bytes")
