"""A house in one process around the profiler: scheduler, one worker that computes, its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from services.profiler.handlers import ProfileHandler
from services.profiler.workbench import Workbench
from services.scheduler import driver
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import compute, worker
from shared.chassis.handler import Handler
from shared.chassis.settings import WorkerSettings
from shared.contracts.subjects import Bucket
from shared.contracts.v1.workers import WorkerCard
from shared.operators.reference import ReferenceBackend
from tests.services.worker_house import appears

CARD = WorkerCard(
    worker="cpu-1",
    worker_class="cpu",
    service="cpu-worker",
    pid=1,
    device="a processor",
    driver="one",
    kinds=("infer", "operator"),
)


@asynccontextmanager
async def house(broker: MemoryBroker, handler: Handler | None = None) -> AsyncIterator[Bus]:
    """Yields a bus of the test's own; `handler` may take the place of the profiler's."""
    settings = WorkerSettings(retry_delay=0.0)
    bench = WorkerCard(worker="profiler-1", worker_class="profiler", service="profiler", pid=1)
    bus = broker.connect("profiler")
    mine = handler or ProfileHandler(Workbench(bus))
    async with anyio.create_task_group() as group:
        group.start_soon(driver.lead, broker.connect("sched"))
        group.start_soon(compute.serve, broker.connect("cpu-1"), ReferenceBackend(), CARD, settings)
        group.start_soon(worker.serve, bus, bench, mine, settings)
        await appears(bus, Bucket.WORKERS, CARD.worker)
        yield broker.connect("test")
        group.cancel_scope.cancel()
