"""Profiler: wiring only."""

import os

import anyio

from services.profiler import newcomers
from services.profiler.filler import Filler
from services.profiler.handlers import ProfileHandler
from services.profiler.workbench import Workbench
from shared.bus.port import Bus
from shared.chassis import lifecycle, worker
from shared.chassis.settings import WorkerSettings, load
from shared.contracts.v1.workers import WorkerCard

NAME = "profiler"


async def serve(bus: Bus, settings: WorkerSettings) -> None:
    """Measure on request, and whoever and whatever is new."""
    card = WorkerCard(
        worker=settings.name,
        worker_class=settings.worker_class or NAME,
        service=NAME,
        pid=os.getpid(),
        slots=1,  # two measurements at once would measure each other
    )
    workbench = Workbench(bus)
    async with anyio.create_task_group() as group:
        group.start_soon(newcomers.watch, workbench)
        group.start_soon(Filler(workbench).run)
        await worker.serve(bus, card, ProfileHandler(workbench), settings)


if __name__ == "__main__":
    lifecycle.run(NAME, serve, load(WorkerSettings))
