"""The door of a worker for sessions: one message is some steps of one stream, in its order."""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from shared.bus.port import Bus, Inbound
from shared.chassis import records
from shared.chassis.artifacts import Artifacts
from shared.chassis.device import DeviceThread
from shared.chassis.sessions import Held, Shelf, running
from shared.chassis.watch import Watch
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    DeadlineExceeded,
    InvalidTensor,
    NoWorker,
    QueueFull,
    SessionOutOfStep,
    SuiteError,
    TooLarge,
)
from shared.contracts.v1.sessions import (
    Learning,
    SessionAnswer,
    SessionCall,
    SessionCard,
    SessionWork,
)
from shared.network import shapes, streamed, streaming
from shared.network.execute import Loaded
from shared.network.streaming import Opened
from shared.tensors.layouts import Tensor, dense

WAITING = 256  # calls in hand, of all sessions
WAYS = 32  # numbers of rows and steps for which a network is remembered
ANSWER = 4 * 2**20  # [bytes] of the outputs of one call
log = structlog.get_logger()


class Way(NamedTuple):
    """A network opened for calls of some rows and steps, beside the loaded one."""

    base: Loaded
    opened: Opened
    first: Loaded
    later: Loaded


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a call made."""

    outputs: Mapping[str, Tensor]
    seconds: float = 0.0  # of computing


async def serve(
    bus: Bus, worker: str, artifacts: Artifacts, device: DeviceThread, watch: Watch
) -> None:
    """Answer calls of sessions until cancelled; then what has arrived, and no more."""
    door = Door(bus, worker, artifacts, device, watch)
    async with anyio.create_task_group() as group:
        await group.start(door.run)
        group.start_soon(door.shelf.keep)
        taken = await bus.subscribe(subjects.sessions_of_worker(worker), door.take)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await door.leave()
                await taken.stop()
            door.drain()


class Door:
    """Takes calls off the bus and answers each."""

    def __init__(
        self, bus: Bus, worker: str, artifacts: Artifacts, device: DeviceThread, watch: Watch
    ) -> None:
        self._bus = bus
        self._worker = worker
        self._artifacts = artifacts
        self._device = device
        self._watch = watch
        self.shelf = Shelf(bus, worker, artifacts)
        self._leaving = False
        self._idle, self._left, self._drained = anyio.Event(), anyio.Event(), anyio.Event()
        self._working = 0  # calls in hand
        self._answering: TaskGroup
        self._ways: OrderedDict[tuple[str, Learning | None, int, int], Way] = OrderedDict()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer until `drain`. Shielded: what has arrived is always answered."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as self._answering:
                task_status.started()
                await self._drained.wait()

    async def leave(self) -> None:
        """Finish what is in hand and store every session. Whoever calls meanwhile is told to go
        elsewhere, but only afterwards: so nobody takes a session up that is not yet stored."""
        self._leaving = True
        if self._working:
            await self._idle.wait()
        await self.shelf.leave()
        self._left.set()

    def drain(self) -> None:
        """Let `run` return once everything that has arrived is answered."""
        self._drained.set()

    def take(self, message: Inbound) -> None:
        """Accept one call; never blocks."""
        self._answering.start_soon(self._answer, message, time.monotonic())

    async def _answer(self, message: Inbound, arrived: float) -> None:
        answer, outputs = await self._answered(message, arrived)
        if not message.reply:
            return
        try:
            try:
                await self._bus.publish(message.reply, frame.encode(answer, outputs))
            except TooLarge as error:  # the steps are done; a call of fewer would have fitted
                await self._bus.publish(message.reply, frame.encode(self._refusal(error)))
        except SuiteError as error:  # the bus is away; the caller's own deadline tells it
            log.warning("reply.lost", reason=str(error))

    async def _answered(
        self, message: Inbound, arrived: float
    ) -> tuple[SessionAnswer, Mapping[str, Tensor]]:
        try:
            async with self._admitted():
                work, tensors = frame.decode(message.data, SessionWork)
                return await self._work(work, tensors, arrived)
        except Exception as error:  # this is a worker loop: whatever a call raises is answered
            return self._refusal(records.as_error(error)), {}

    def _refusal(self, error: SuiteError) -> SessionAnswer:
        return SessionAnswer(code=error.code, message=str(error), worker=self._worker)

    @asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        """A place among the calls in hand; raises what keeps a call out."""
        if self._leaving:
            await self._left.wait()
            raise NoWorker(f"worker {self._worker} drains")
        if self._working >= WAITING:
            raise QueueFull(f"worker {self._worker} has {WAITING} calls of sessions in hand")
        self._watch.fitness.require()
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            if self._leaving and not self._working:
                self._idle.set()

    async def _work(
        self, work: SessionWork, tensors: Mapping[str, Tensor], arrived: float
    ) -> tuple[SessionAnswer, Mapping[str, Tensor]]:
        key, call = f"{work.tenant}.{work.session}", work.call
        async with self.shelf.lock(key):
            _require_time(call, arrived)
            held, again = await self.shelf.find(key, work)
            with _or_as_before(held):
                if call.restore:
                    await self.shelf.restore(held)
                _require_place(held, call)
                steps = bool(tensors) or call.steps is not None
                made = await self._step(held, call, tensors) if steps else Stepped({})
            if call.end:
                await self.shelf.end(held)
            elif call.snapshot:
                await self.shelf.snapshot(held)
        answer = SessionAnswer(
            model=held.card.model,
            variant=held.card.variant,
            worker=self._worker,
            steps=held.steps,
            snapshot=held.card.steps,
            restored=again,
            seconds=made.seconds,
        )
        return answer, made.outputs

    async def _step(self, held: Held, call: SessionCall, tensors: Mapping[str, Tensor]) -> Stepped:
        """Run some steps."""
        async with self._artifacts.using(held.card.artifact) as base:
            return await self._device.call(lambda: self._run(base, held, call, tensors))

    def _run(
        self, base: Loaded, held: Held, call: SessionCall, tensors: Mapping[str, Tensor]
    ) -> Stepped:
        rows, steps = _extent(base, held, call, tensors)
        way = self._way(held.card, base, rows, steps)
        inputs = streamed.inputs(way.opened, tensors, at=held.steps)
        loaded = way.later if held.kept else way.first
        began = time.perf_counter()
        made = loaded.run({**inputs, **held.kept})
        seconds = time.perf_counter() - began
        outputs = {name: made[name] for name in base.network.outputs}
        if call.events:
            outputs = _with_events(outputs, way, at=held.steps)
        if call.kept:
            outputs |= {value: made[value] for value in way.opened.carried.values()}
        held.kept = {name: made[value] for name, value in way.opened.carried.items()}
        held.steps, held.rows = held.steps + steps, rows
        return Stepped(outputs, seconds)

    def _way(self, card: SessionCard, base: Loaded, rows: int, steps: int) -> Way:
        key = (card.artifact.sha256, card.learning, rows, steps)
        way = self._ways.pop(key, None)
        if way is None or way.base is not base:
            network = running(base.network, card.learning)
            opened = streaming.opened(network, rows=rows, steps=steps)
            _require_room(base, opened, rows)
            way = Way(base, opened, base.beside(opened.first), base.beside(opened.later))
        self._ways[key] = way
        while len(self._ways) > WAYS:
            self._ways.popitem(last=False)
        return way


def _extent(
    base: Loaded, held: Held, call: SessionCall, tensors: Mapping[str, Tensor]
) -> tuple[int, int]:
    """Rows and steps of a call."""
    spikes = streaming.spikes(base.network)
    known = streamed.extent(tensors, spikes)
    rows, steps = known or (held.rows or call.rows, None)
    if steps is None:
        steps = call.steps
    if steps is None:
        if known is None:
            raise InvalidTensor("events do not say how many steps the call has: give `steps`")
        steps = streaming.steps_of(base.network)
    elif call.steps not in (None, steps):
        raise InvalidTensor(f"the call has {call.steps} steps, its tensors {steps}")
    if held.rows and rows != held.rows:
        raise InvalidTensor(f"the session has {held.rows} rows, the call {rows}")
    return rows, steps


@contextmanager
def _or_as_before(held: Held) -> Iterator[None]:
    """A call that fails leaves its session as it found it, also one that went back first."""
    before = held.kept, held.steps, held.rows
    try:
        yield
    except Exception:
        held.kept, held.steps, held.rows = before
        raise


def _require_time(call: SessionCall, arrived: float) -> None:
    waited = time.monotonic() - arrived
    if waited > call.budget:
        raise DeadlineExceeded(f"the budget of {call.budget:.6f} s ended in the queue")


def _require_place(held: Held, call: SessionCall) -> None:
    if call.at is not None and call.at != held.steps:
        raise SessionOutOfStep(f"the session is at step {held.steps}, the call begins at {call.at}")


def _require_room(base: Loaded, opened: Opened, rows: int) -> None:
    types = shapes.infer(opened.first, rows)
    size = sum(4 * prod(size or 0 for size in types[n].shape) for n in base.network.outputs)
    if size > ANSWER:
        raise TooLarge(f"the outputs would be {size} bytes, at most {ANSWER}: ask for fewer steps")


def _with_events(outputs: Mapping[str, Tensor], way: Way, *, at: int) -> dict[str, Tensor]:
    """Outputs that are spikes over all steps as events."""
    trains = streaming.trains(way.opened.first)
    return {
        **{name: made for name, made in outputs.items() if name not in trains},
        **{
            name + streamed.EVENTS: dense(streamed.events(outputs[name].values, at=at))
            for name in trains
        },
    }
