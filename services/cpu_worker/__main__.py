"""CPU worker: wiring only."""

import os

import anyio.to_thread

from services.cpu_worker import processor, warm
from services.cpu_worker.backend import CpuBackend
from shared.bus.port import Bus
from shared.chassis import compute, lifecycle, sensors
from shared.chassis.energy import Meter
from shared.chassis.settings import CpuSettings, load
from shared.contracts.v1.workers import WorkerCard

NAME = "cpu-worker"
SLOTS = 2  # one job computes while the other is on the bus


async def serve(bus: Bus, settings: CpuSettings) -> None:
    """Run operators and networks with BLAS, compiled kernels and scipy."""
    engine = await anyio.to_thread.run_sync(warm.start, settings, abandon_on_cancel=True)
    card = WorkerCard(
        worker=settings.name,
        worker_class=settings.worker_class or "cpu",
        service=NAME,
        pid=os.getpid(),
        device=processor.device(),
        driver=processor.driver(engine),
        slots=SLOTS,
    )
    meter = Meter(sensors.packages)
    await compute.serve(bus, CpuBackend(engine), card, settings, meter=meter)


if __name__ == "__main__":
    lifecycle.run(NAME, serve, load(CpuSettings))
