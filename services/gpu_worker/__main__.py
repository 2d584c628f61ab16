"""GPU worker: wiring only."""

import os

from services.gpu_worker import startup
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.settings import GpuSettings
from shared.bus.port import Bus
from shared.chassis import compute, lifecycle, telemetry
from shared.chassis.settings import load
from shared.contracts.v1.workers import WorkerCard

NAME = "gpu-worker"
SLOTS = 2  # one job computes while the other is on the bus


def card(backend: OpenCLBackend, settings: GpuSettings) -> WorkerCard:
    """Who this worker is."""
    return WorkerCard(
        worker=settings.name,
        worker_class=settings.worker_class or backend.name,
        service=NAME,
        pid=os.getpid(),
        device=backend.device.name,
        driver=backend.device.driver,
        memory=backend.device.limits.memory_bytes,
        slots=SLOTS,
    )


def main() -> None:
    """Prove the device, then serve it."""
    settings = load(GpuSettings).of(NAME)
    telemetry.configure(NAME, worker=settings.name, level=settings.log_level)
    backend = startup.ready(settings)

    async def serve(bus: Bus, settings: GpuSettings) -> None:
        await compute.serve(bus, backend, card(backend, settings), settings)

    lifecycle.run(NAME, serve, settings)


if __name__ == "__main__":
    main()
