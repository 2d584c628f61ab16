"""CPU worker: wiring only."""

import os
import platform

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
        device=platform.processor() or platform.machine(),
        driver=f"python {platform.python_version()}",
        slots=SLOTS,
    )
    await compute.serve(bus, CpuBackend(), card, settings)


if __name__ == "__main__":
    lifecycle.run(NAME, serve, load(WorkerSettings))
