"""The interactive lane: at most one packed message in flight per worker and artifact.

Calls that arrive meanwhile ride in the next one. This needs no timer and adds nothing when idle:
the slower the worker, the fuller the message.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from services.gateway.limits import Limits
from services.gateway.routes import Target
from shared.bus.port import Bus
from shared.contracts import packed
from shared.contracts.errors import (
    BusUnavailable,
    DeadlineExceeded,
    InvalidMessage,
    NoWorker,
    SuiteError,
)

LEAST = 1e-3  # [s] of budget: 0 would mean that there is no deadline
SMOOTHING = 0.2  # weight of the newest exchange in the estimate of the next


class WorkerLost(NoWorker):
    """A worker fell silent with calls in hand."""


class OutOfTime(DeadlineExceeded):
    """The deadline of the call itself has passed: there is no time for another worker."""


@dataclass(frozen=True, slots=True)
class Work:
    """One inference for a worker."""

    artifact: str
    heads: tuple[packed.Head, ...]  # of the inputs
    bodies: Sequence[bytes | memoryview]  # of the inputs
    outputs: tuple[str, ...]
    deadline: float  # [s] on the clock of the event loop
    patience: float  # [s] until an answer is no longer waited for
    priority: int = 0  # smaller is served first

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(map(len, self.bodies))

    def item(self, now: float) -> bytes:
        """Its place in a packed message."""
        budget = max(self.deadline - now, LEAST)
        call = packed.Call(self.artifact, self.heads, self.outputs, budget)
        return packed.item(call, self.bodies)


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer with the bytes of its outputs, and when the call left the gateway [s]."""

    answer: packed.Answer
    body: memoryview
    sent_at: float


class _Waiting(NamedTuple):
    priority: int
    order: int  # no two are equal, so that a comparison ends here
    work: Work
    answer: "asyncio.Future[Reply]"


@dataclass(slots=True, eq=False)
class _Lane:
    target: Target
    waiting: list[_Waiting] = field(default_factory=list)  # a heap
    flying: int = 0  # calls in the message in flight
    scope: anyio.CancelScope | None = None  # of the message in flight
    rest: "asyncio.Future[None] | None" = None  # what the pump awaits while nothing waits
    closed: bool = False
    exchange: float = 0.0  # smoothed time of one message there and back [s]

    def wake(self) -> None:
        """There is something to do."""
        if self.rest is not None and not self.rest.done():
            self.rest.set_result(None)

    def take(self, limits: Limits, now: float) -> list[_Waiting]:
        """The next message: the most urgent calls that fit; those nobody waits for are dropped."""
        batch: list[_Waiting] = []
        room = limits.inline
        while self.waiting and len(batch) < limits.pack:
            work = self.waiting[0].work
            if self.waiting[0].answer.done() or work.deadline <= now:
                heapq.heappop(self.waiting)
                continue
            room -= work.size
            if batch and room < 0:
                break
            batch.append(heapq.heappop(self.waiting))
        return batch


class Lanes:
    """All lanes of one gateway. `group` owns the tasks that keep them moving."""

    def __init__(self, bus: Bus, group: TaskGroup, limits: Limits) -> None:
        self._bus, self._group, self._limits = bus, group, limits
        self._loop = asyncio.get_running_loop()  # kept: asking for it is a system call
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._order = count()

    def load(self, target: Target, artifact: str) -> int:
        """Calls of an artifact that wait for, or are with, a target."""
        lane = self._lanes.get((target.subject, artifact))
        return len(lane.waiting) + lane.flying if lane else 0

    def wait(self, target: Target, artifact: str) -> float:
        """Time until a call that comes now would leave [s]; an estimate."""
        lane = self._lanes.get((target.subject, artifact))
        if lane is None:
            return 0.0
        return lane.exchange * (1 + len(lane.waiting) // self._limits.pack)

    async def call(self, target: Target, work: Work) -> Reply:
        """Send one inference and wait for its answer.

        Raises:
            NoWorker: nobody listens at the target, or it fell silent.
            DeadlineExceeded: no answer within the call's patience; OutOfTime: the deadline passed.
            BusUnavailable, TooLarge: the message did not get there.
            SuiteError: the reply is not one.
        """
        lane = self._lanes.get((target.subject, work.artifact))
        if lane is None:
            lane = self._lanes[target.subject, work.artifact] = _Lane(target)
            self._group.start_soon(self._pump, lane, work.artifact)
        answer: asyncio.Future[Reply] = self._loop.create_future()
        heapq.heappush(lane.waiting, _Waiting(work.priority, next(self._order), work, answer))
        lane.wake()
        timer = self._loop.call_at(work.deadline, _expire, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    def drop(self, worker: str, *, where: Callable[[str], bool] = lambda _artifact: True) -> int:
        """A worker is dead: fail what is in flight to it, of those artifacts for which `where`
        holds. Returns the messages given up.
        """
        given_up = 0
        for (_subject, artifact), lane in self._lanes.items():
            if lane.target.worker == worker and lane.scope is not None and where(artifact):
                lane.scope.cancel()
                given_up += 1
        return given_up

    def forget(self, worker: str) -> None:
        """Free the lanes of a worker that left, each as soon as nothing waits."""
        for lane in self._lanes.values():
            if lane.target.worker == worker:
                lane.closed = True
                lane.wake()

    async def _pump(self, lane: _Lane, artifact: str) -> None:
        """Send message after message; rest while nothing waits, end when the lane is closed."""
        try:
            while not lane.closed or lane.waiting:
                if batch := lane.take(self._limits, self._loop.time()):
                    lane.flying = len(batch)
                    await self._exchange(lane, batch)
                    lane.flying = 0
                elif not lane.closed:
                    lane.rest = self._loop.create_future()
                    await lane.rest
        finally:
            del self._lanes[lane.target.subject, artifact]
            _fail(lane.waiting, BusUnavailable("the gateway is leaving"))

    async def _exchange(self, lane: _Lane, batch: list[_Waiting]) -> None:
        """One message there and back; every caller of the batch gets an answer or an error."""
        sent_at = self._loop.time()
        data = b"".join(waiting.work.item(sent_at) for waiting in batch)
        patience = max(waiting.work.patience for waiting in batch)
        error: SuiteError = WorkerLost(f"worker {lane.target.worker} fell silent")
        with anyio.CancelScope() as lane.scope:
            try:
                reply = await self._bus.request(lane.target.subject, data, timeout=patience)
                _deliver(batch, reply, sent_at)
                elapsed = self._loop.time() - sent_at
                lane.exchange += SMOOTHING * (elapsed - lane.exchange)
                return
            except SuiteError as failure:
                error = failure
            finally:
                lane.scope = None
        _fail(batch, error)


def _deliver(batch: list[_Waiting], data: bytes, sent_at: float) -> None:
    """Give each caller its own answer; they come in the order of the calls.

    Raises:
        SuiteError: the reply does not parse, or has another number of answers.
    """
    try:
        answers = list(packed.answers(data))
    except InvalidMessage as error:
        raise SuiteError(f"a worker's reply does not parse: {error}") from error
    if len(answers) != len(batch):
        raise SuiteError(f"{len(batch)} calls were answered by {len(answers)} items")
    for waiting, (answer, body) in zip(batch, answers, strict=True):
        if not waiting.answer.done():
            waiting.answer.set_result(Reply(answer, body, sent_at))


def _expire(answer: "asyncio.Future[Reply]") -> None:
    if not answer.done():
        answer.set_exception(OutOfTime("no answer in the time of the call"))


def _fail(batch: list[_Waiting], error: SuiteError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
