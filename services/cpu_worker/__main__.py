"""CPU worker: wiring only."""

import os

from services.cpu_worker import processor
from services.cpu_worker.backend import CpuBackend
from shared.bus.port import Bus
from shared.chassis import compute, lifecycle
from shared.chassis.settings import WorkerSettings, load
from shared.contracts.v1.workers import WorkerCard

NAME = "cpu-worker"
SLOTS = 2  # one job computes while the other is on the bus


async def serve(bus: Bus, settings: WorkerSettings) -> None:
    """Run operators and networks with BLAS and scipy."""
    card = WorkerCard(
        worker=settings.name,
        worker_class=settings.worker_class or "cpu",
        service=NAME,
        pid=os.getpid(),
        device=processor.device(),
        driver=processor.driver(),
        slots=SLOTS,
    )
    await compute.serve(bus, CpuBackend(), card, settings)


if __name__ == "__main__":
    lifecycle.run(NAME, serve, load(WorkerSettings))
