"""Compressor: wiring only."""

import os
import platform

from services.compressor.handlers import CompressorHandler
from shared.bus.port import Bus
from shared.chassis import lifecycle, worker
from shared.chassis.settings import WorkerSettings, load
from shared.contracts.v1.workers import WorkerCard

NAME = "compressor"
SLOTS = 2  # a long compression leaves room for an import


async def serve(bus: Bus, settings: WorkerSettings) -> None:
    """Import networks and compress models."""
    card = WorkerCard(
        worker=settings.name,
        worker_class=settings.worker_class or NAME,
        service=NAME,
        pid=os.getpid(),
        device=platform.processor() or platform.machine(),
        driver=f"python {platform.python_version()}",
        slots=SLOTS,
    )
    await worker.serve(bus, card, CompressorHandler(bus), settings)


if __name__ == "__main__":
    lifecycle.run(NAME, serve, load(WorkerSettings))
