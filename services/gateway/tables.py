"""Keeps the route table true: buckets are listed and watched, heartbeats heard, silence noticed."""

import asyncio
from collections.abc import Callable
from functools import partial

import anyio
import structlog
from anyio.abc import TaskStatus

from services.gateway.lanes import Lanes
from services.gateway.limits import Limits
from services.gateway.routes import RouteTable
from shared.bus.port import Bus, Entry, Inbound
from shared.contracts import subjects
from shared.contracts.errors import BusUnavailable, InvalidMessage
from shared.contracts.subjects import Bucket
from shared.contracts.v1.models import ModelManifest, Route
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, WorkerCard

log = structlog.get_logger()
PROBE = 1.0  # [s] between two questions to the broker whether it is there
WATCHDOG = 0.25  # [s] between two looks for silent workers


class Tables:
    """Fills `table` from the bus. `ready` is whether the table can be trusted now."""

    def __init__(self, bus: Bus, lanes: Lanes, limits: Limits) -> None:
        self._bus, self._lanes = bus, lanes
        self.table = RouteTable(limits)
        self.ready = False
        self.changed = anyio.Event()  # replaced at every change
        self._readers: dict[Bucket, Callable[[Entry], None]] = {
            Bucket.MODELS: self._read_model,
            Bucket.ROUTES: self._read_route,
            Bucket.WORKERS: self._read_card,
        }

    def is_ready(self) -> bool:
        """`ready` as a function."""
        return self.ready

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Fill the table, say so, and follow every change; never returns."""
        await self._bus.subscribe(subjects.ALL_HEARTBEATS, self._hear)
        for bucket in self._readers:
            for entry in await self._bus.entries(bucket):
                self._read(bucket, entry)
        self.ready = True
        task_status.started()
        async with anyio.create_task_group() as group:
            for bucket in self._readers:
                group.start_soon(self._follow, bucket)
            group.start_soon(self._watchdog)
            group.start_soon(self._probe)

    async def model(self, name: str) -> ModelManifest:
        """The manifest of a model; looked up in the bucket when the table has none.

        Raises:
            UnknownModel: there is none.
            BusUnavailable: the table has none, and the broker cannot be asked.
        """
        if name not in self.table.models:
            entry = await self._bus.get(Bucket.MODELS, name)
            if entry is not None:
                self._read(Bucket.MODELS, entry)
        return self.table.model(name)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the table fulfils a condition; the caller bounds the time."""
        while not condition():
            await self.changed.wait()

    async def _follow(self, bucket: Bucket) -> None:
        async with self._bus.watch(bucket) as entries:
            async for entry in entries:
                self._read(bucket, entry)

    async def _probe(self) -> None:
        while True:
            try:
                await self._bus.get(Bucket.LEADER, "sched")
                self.ready = True
            except BusUnavailable:
                self.ready = False
            await anyio.sleep(PROBE)

    async def _watchdog(self) -> None:
        """Calls in flight to a worker that fell silent are given up where others can take them.
        Where nobody can they stay: the worker may be late rather than dead.
        """
        while True:
            now = asyncio.get_running_loop().time()
            for worker in self.table.silent(now):
                elsewhere = partial(self.table.has_other, than=worker, now=now)
                if given_up := self._lanes.drop(worker, where=elsewhere):
                    log.warning("worker.silent", about=worker, messages=given_up)
            await anyio.sleep(WATCHDOG)

    def _read(self, bucket: Bucket, entry: Entry) -> None:
        """Take over one value; a bad one is reported and the old one stays."""
        try:
            self._readers[bucket](entry)
        except InvalidMessage as error:
            log.warning("entry.invalid", bucket=bucket, key=entry.key, reason=str(error))
        event, self.changed = self.changed, anyio.Event()
        event.set()

    def _read_model(self, entry: Entry) -> None:
        if entry.value is None:
            self.table.drop_model(entry.key)
        else:
            self.table.put_model(ModelManifest.decode(entry.value))

    def _read_route(self, entry: Entry) -> None:
        what, _, name = entry.key.partition(".")
        match what, entry.value:
            case "model", None:
                self.table.drop_route(name)
            case "model", bytes() as value:
                self.table.put_route(Route.decode(value))
            case "device", None:
                self.table.devices.pop(name, None)
            case "device", bytes() as value:
                self.table.devices[name] = DeviceProfile.decode(value)

    def _read_card(self, entry: Entry) -> None:
        if entry.value is None:
            self.table.drop_card(entry.key)
            self._lanes.drop(entry.key)
            self._lanes.forget(entry.key)
        else:
            now = asyncio.get_running_loop().time()
            self.table.put_card(WorkerCard.decode(entry.value), now)

    def _hear(self, message: Inbound) -> None:
        try:
            beat = Heartbeat.decode(message.data)
        except InvalidMessage as error:
            log.warning("heartbeat.invalid", subject=message.subject, reason=str(error))
            return
        self.table.hear(beat, asyncio.get_running_loop().time())
