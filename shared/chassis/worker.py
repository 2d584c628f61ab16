"""The durable loop of a worker: pull, execute, record, and drain without losing anything.

A slot is one lane that pulls only when it is free, so a queue stays where others can take from
it. The worker shows itself with a card (each second) and a heartbeat (twice a second).
"""

import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import anyio
import structlog

from shared.bus.port import Bus, Delivery, Inbound, Puller
from shared.chassis.attempt import Attempts
from shared.chassis.fitness import Fitness, Standing, State
from shared.chassis.handler import Handler
from shared.chassis.settings import WorkerSettings
from shared.contracts import subjects
from shared.contracts.errors import SuiteError
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.workers import Heartbeat, WorkerCard, WorkerEvent

BEAT_EVERY = 0.5  # [s]; three missed beats mean dead
CARD_EVERY = 1.0  # [s]; a card lives 3 s
POLL_EVERY = 3.0  # [s] between looks at stored cancels
PULL_WAIT = 5.0  # [s] one pull stays open
PAUSE = 1.0  # [s] after a pull that failed
log = structlog.get_logger()


async def serve(
    bus: Bus,
    card: WorkerCard,
    handler: Handler,
    settings: WorkerSettings,
    *,
    loaded: Callable[[], tuple[str, ...]] = lambda: (),
    fitness: Fitness | None = None,
) -> None:
    """Work until cancelled, then drain: stop pulling at once, finish the jobs in hand within
    `settings.grace` seconds, give back the rest.

    Args:
        card: who this worker is; its kinds come from the handler, its host from the system.
        loaded: digests of the artifacts that the worker can run now, for the card.
        fitness: while it is not fit nothing is pulled, and the card says why; None: always fit.
    """
    worker = Worker(bus, card, handler, settings, Shown(loaded, fitness or Fitness()))
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        try:
            await anyio.sleep_forever()
        finally:
            worker.drain()


@dataclass(frozen=True, slots=True)
class Shown:
    """What a card tells of the moment."""

    loaded: Callable[[], tuple[str, ...]]
    fitness: Fitness

    def on(self, card: WorkerCard, *, draining: bool) -> WorkerCard:
        """The card as it is now. A worker that is not fit shows itself as one that drains: it has
        left its class."""
        standing = self.fitness.standing
        quarantined = standing.state is State.QUARANTINED
        return card.model_copy(
            update={
                "artifacts": self.loaded() if standing.fit else (),
                "draining": draining or not standing.fit,
                "quarantined": standing.reason if quarantined else None,
                "unready": None if standing.fit or quarantined else standing.reason,
            }
        )


class Worker:
    """The state of one loop: its lanes, what they hold, and whether it drains."""

    def __init__(
        self,
        bus: Bus,
        card: WorkerCard,
        handler: Handler,
        settings: WorkerSettings,
        shown: Shown,
    ) -> None:
        slots = settings.slots or card.slots
        known = {"kinds": handler.kinds, "slots": slots, "host": card.host or socket.gethostname()}
        self.card = card.model_copy(update=known)
        self._bus = bus
        self._grace = settings.grace
        self._shown = shown
        self._fitness = shown.fitness
        self._attempts = Attempts(bus, self.card, handler, settings)
        self._draining = anyio.Event()
        self._open = anyio.Event()  # a lane may pull, or see that it has to end
        self._pulls: set[anyio.CancelScope] = set()
        self._free = slots
        self._told = Standing()

    def drain(self) -> None:
        """Take nothing more; `run` returns when the jobs in hand are done or given back."""
        self._draining.set()
        self._open.set()
        self._stop_pulling()

    async def run(self) -> None:
        """Work until `drain`. Shielded: it is told to stop, it is never torn away from a job."""
        with anyio.CancelScope(shield=True):
            consumer = await self._bus.ensure_consumer(self.card.worker_class)
            cancels = await self._bus.subscribe(subjects.ALL_CANCELS, self._on_cancel)
            try:
                await self._live(consumer)
            finally:
                await _quietly(cancels.stop())
                await _quietly(self._bus.remove(Bucket.WORKERS, self.card.worker))

    async def _live(self, consumer: str) -> None:
        async with anyio.create_task_group() as signs:
            signs.start_soon(self._beat)
            signs.start_soon(self._show)
            signs.start_soon(self._poll)
            signs.start_soon(self._heed)
            async with anyio.create_task_group() as lanes:
                signs.start_soon(self._bound_drain, lanes.cancel_scope)
                for _ in range(self.card.slots):
                    lanes.start_soon(self._lane, consumer)
            signs.cancel_scope.cancel()

    async def _lane(self, consumer: str) -> None:
        puller = self._bus.puller(Stream.RUN, consumer)
        while not self._draining.is_set():
            await self._open.wait()
            for delivery in await self._pull(puller):
                await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        if not self._taking:  # pulled in the instant that the drain, or the trouble, began
            await _quietly(delivery.nak())
            return
        self._free -= 1
        try:
            await self._attempts.run(delivery)
        finally:
            self._free += 1

    async def _pull(self, puller: Puller) -> list[Delivery]:
        if not self._taking:
            return []
        with anyio.CancelScope() as scope:
            self._pulls.add(scope)
            try:
                return await puller.pull(1, wait=PULL_WAIT)
            except SuiteError as error:
                log.warning("pull.failed", reason=str(error))
                await anyio.sleep(PAUSE)
            finally:
                self._pulls.discard(scope)
        return []

    def _stop_pulling(self) -> None:
        for pull in self._pulls:
            pull.cancel()

    @property
    def _taking(self) -> bool:
        return self._fitness.standing.fit and not self._draining.is_set()

    async def _heed(self) -> None:
        """Stop pulling while the device is not fit, and tell everybody of every change."""
        async with aclosing(self._fitness.follow()) as changes:
            async for standing in changes:
                self._admit(standing)
                await self._show_card()
                await self._send_beat()
                await self._announce(standing)

    def _admit(self, standing: Standing) -> None:
        if standing.fit or self._draining.is_set():
            self._open.set()
            return
        if self._open.is_set():  # lanes may wait for the one there is
            self._open = anyio.Event()
        self._stop_pulling()

    async def _announce(self, standing: Standing) -> None:
        """Note what became of the device in EL_AUDIT; that it is fit at first is no news."""
        if standing == self._told:
            return
        self._told = standing
        event = WorkerEvent(
            worker=self.card.worker,
            worker_class=self.card.worker_class,
            what=standing.state.value,
            at=time.time(),
            reason=standing.reason,
        )
        subject = subjects.worker_audit(event.worker, event.what)
        await _quietly(self._bus.publish(subject, event.encode()))

    async def _bound_drain(self, lanes: anyio.CancelScope) -> None:
        """Say so when the drain begins; give back what the grace was too short for."""
        await self._draining.wait()
        log.info("worker.draining", running=len(self._attempts.running), grace_s=self._grace)
        await self._show_card()
        await self._send_beat()
        await anyio.sleep(self._grace)
        lanes.cancel()

    async def _beat(self) -> None:
        while True:
            await self._send_beat()
            await anyio.sleep(BEAT_EVERY)

    async def _show(self) -> None:
        while True:
            await self._show_card()
            await anyio.sleep(CARD_EVERY)

    async def _send_beat(self) -> None:
        beat = Heartbeat(
            worker=self.card.worker,
            worker_class=self.card.worker_class,
            slots=self.card.slots,
            free=self._free if self._taking else 0,
            running=tuple(self._attempts.running),
            draining=not self._taking,
        )
        await _quietly(self._bus.publish(subjects.heartbeat(beat.worker), beat.encode()))

    async def _show_card(self) -> None:
        card = self._shown.on(self.card, draining=self._draining.is_set())
        await _quietly(self._bus.put(Bucket.WORKERS, card.worker, card.encode()))

    async def _poll(self) -> None:
        while True:
            await anyio.sleep(POLL_EVERY)
            await _quietly(self._attempts.poll_cancels())

    def _on_cancel(self, message: Inbound) -> None:
        self._attempts.cancel(message.subject.rpartition(".")[2], message.data)


async def _quietly(act: Awaitable[object]) -> None:
    """Do what is repeated or optional: a failure is logged, the next turn tries again."""
    try:
        await act
    except SuiteError as error:
        log.debug("bus.refused", reason=str(error))
