"""Between the bus and the machine: events in, instructions performed, nothing decided."""

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from services.scheduler import intake, listen
from services.scheduler.clock import Clock
from services.scheduler.events import Arrival, Backlog, Event, Found, Tick, Unreadable
from services.scheduler.held import Held
from services.scheduler.instructions import Announce, Instruction, PublishRoute, RemoveRoute
from services.scheduler.machine import Machine
from services.scheduler.perform import Performer, record_of
from shared.bus.port import Bus, Delivery, Lease, Stored
from shared.bus.topology import SCHEDULER
from shared.contracts import subjects
from shared.contracts.errors import InvalidMessage, SuiteError
from shared.contracts.subjects import Bucket, Stream

LEASE = "sched"
WATCHED = (Bucket.WORKERS, Bucket.MODELS, Bucket.ROUTES, Bucket.CONTROL)
TICK = 0.1  # [s]
KEEP = 1.5  # [s] between extensions of the ack wait, which is 5 s
MEASURE = 0.5  # [s] between looks at the backlog
BATCH = 64  # deliveries per pull
PULL_WAIT = 2.0  # [s]
PAUSE = 0.5  # [s] after a pull that failed
AT_ONCE = 64  # instructions under way
RECOVERED = 4_000  # the most EL_RUN can hold
HAND_BACK = 2.0  # [s] for giving deliveries back when leaving
log = structlog.get_logger()


async def lead(bus: Bus, make: Callable[[], Machine] = Machine) -> None:
    """Wait for the lease, schedule while it is held, wait again when it is lost; for ever.

    A bus that is away costs the leadership and what was in memory, never a job.
    """
    while True:
        try:
            async with bus.lease(LEASE) as lease:
                log.info("lease.taken", name=bus.name)
                await Session(bus, make(), lease).run()
            log.warning("lease.lost", name=bus.name)
        except* SuiteError as errors:
            log.warning("lease.lost", name=bus.name, reason=str(errors.exceptions[0]))
            await anyio.sleep(PAUSE)


class Session:
    """One leadership: a fresh machine, filled from what the streams and buckets hold."""

    def __init__(self, bus: Bus, machine: Machine, lease: Lease) -> None:
        self._bus = bus
        self._machine = machine
        self._lease = lease
        self._clock = Clock()
        self._held = Held()
        self._performer = Performer(bus, self._held, self._clock)
        self._limit = anyio.CapacityLimiter(AT_ONCE)
        self._orderly, self._in_order = anyio.create_memory_object_stream[Instruction](10_000)
        self._room = anyio.Event()
        self._over = False
        self._group: TaskGroup

    async def run(self) -> None:
        """Schedule until the lease is lost or the caller cancels; give back what is in hand."""
        try:
            async with anyio.create_task_group() as self._group:
                await self._recover()
                self._group.start_soon(self._perform_in_order)
                for bucket in WATCHED:
                    self._group.start_soon(self._watch, bucket)
                self._group.start_soon(self._hear)
                self._group.start_soon(self._pull)
                self._group.start_soon(self._repeat, KEEP, self._held.keep)
                self._group.start_soon(self._repeat, MEASURE, self._measure)
                await self._tick()
                self._over = True
                self._group.cancel_scope.cancel()
        finally:
            self._over = True
            self._orderly.close()
            self._in_order.close()
            with anyio.move_on_after(HAND_BACK, shield=True):
                await self._held.release()

    def feed(self, event: Event) -> None:
        """Tell the machine, and have done what it wants; nothing once the session is over."""
        if self._over:
            return
        for instruction in self._machine.handle(event, self._clock()):
            match instruction:
                case PublishRoute() | RemoveRoute() | Announce():
                    with contextlib.suppress(anyio.WouldBlock):  # audit and routes are repeated
                        self._orderly.send_nowait(instruction)
                case _:
                    self._group.start_soon(self._perform, instruction)
        if self._machine.room:
            self._room.set()

    async def _perform(self, instruction: Instruction) -> None:
        async with self._limit:
            event = await self._performer.perform(instruction)
        if event is not None:
            self.feed(event)

    async def _perform_in_order(self) -> None:
        async for instruction in self._in_order:
            await self._performer.perform(instruction)

    async def _tick(self) -> None:
        while self._lease.held:
            self.feed(Tick())
            await anyio.sleep(TICK)

    async def _repeat(self, every: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await anyio.sleep(every)
            await act()

    async def _measure(self) -> None:
        with contextlib.suppress(SuiteError):  # asked again soon
            waiting = await self._bus.pending(Stream.JOBS, SCHEDULER)
            self.feed(Backlog(max(0, waiting - self._machine.held)))

    async def _recover(self) -> None:
        """What the buckets say, then the attempts that a predecessor left in EL_RUN."""
        for bucket in WATCHED:
            for entry in await self._bus.entries(bucket):
                self._heed(listen.entry(bucket, entry))
        left = await self._bus.history(Stream.RUN, subjects.ALL_RUNS, limit=RECOVERED)
        for stored in left:
            self._heed(_found(stored))
        log.info("state.recovered", placed=self._machine.unfinished)

    def _heed(self, event: Event | None) -> None:
        if event is not None:
            self.feed(event)

    async def _watch(self, bucket: Bucket) -> None:
        async with self._bus.watch(bucket) as changes:
            async for entry in changes:
                self._heed(listen.entry(bucket, entry))

    async def _hear(self) -> None:
        """Subscribe to the broadcasts for as long as this session lasts."""
        subscriptions = []
        try:
            for subject, read in listen.BROADCASTS:
                heard = partial(listen.hear, read, self._heed)
                subscriptions.append(await self._bus.subscribe(subject, heard))
            await anyio.sleep_forever()
        finally:
            with anyio.move_on_after(HAND_BACK, shield=True), contextlib.suppress(SuiteError):
                for subscription in subscriptions:
                    await subscription.stop()

    async def _pull(self) -> None:
        puller = self._bus.puller(Stream.JOBS, SCHEDULER)
        while True:
            if not self._machine.room:
                self._room = anyio.Event()
                await self._room.wait()
            count = min(self._machine.room, BATCH)
            try:
                deliveries = await puller.pull(count, wait=PULL_WAIT)
            except SuiteError as error:
                log.warning("pull.failed", reason=str(error))
                await anyio.sleep(PAUSE)
                continue
            async with anyio.create_task_group() as group:
                for delivery in deliveries:
                    self._held.take(delivery)
                    group.start_soon(self._take_in, delivery)

    async def _take_in(self, delivery: Delivery) -> None:
        """Parse a delivery and read whether its job already ended."""
        given = intake.frame(delivery.data)
        parsed = intake.read(delivery.sequence, delivery.subject, given)
        if isinstance(parsed, Unreadable):
            self.feed(parsed)
            return
        job, demand = parsed
        try:
            record = await record_of(self._bus, job.tenant, job.job)
        except SuiteError as error:
            log.warning("record.unread", tenant=job.tenant, job=job.job, reason=str(error))
            await self._held.give_back(delivery.sequence, PAUSE)
            return
        self.feed(Arrival(delivery.sequence, job, given, demand, record))


def _found(stored: Stored) -> Found | None:
    """A placed attempt as its headers and bytes tell it; None when a worker must refuse it."""
    attempt = stored.headers.get("El-Attempt", "1")
    try:
        worker_class = subjects.token(stored.subject.split(".")[3])
        job, demand = intake.reread(stored.data)
        number = int(attempt) if attempt.isdecimal() else 1
    except (InvalidMessage, ValueError, IndexError) as error:
        log.warning("attempt.unreadable", sequence=stored.sequence, reason=str(error))
        return None
    given = intake.frame(stored.data, stored.headers.get("El-Digest", ""))
    return Found(stored.sequence, worker_class, number, job, given, demand)
