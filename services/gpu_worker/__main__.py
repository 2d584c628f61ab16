"""GPU worker: wiring only."""

import os

from services.gpu_worker import startup
from services.gpu_worker.isolation.backend import IsolatedBackend
from services.gpu_worker.settings import GpuSettings
from services.gpu_worker.tuned import exchange
from services.gpu_worker.tuned.store import Store
from shared.bus.port import Bus
from shared.chassis import compute, lifecycle, sensors, telemetry
from shared.chassis.crosscheck import Crosscheck
from shared.chassis.energy import Meter
from shared.chassis.settings import load
from shared.chassis.watch import Watch
from shared.contracts.v1.workers import WorkerCard

NAME = "gpu-worker"
SLOTS = 2  # one job computes while the other is on the bus
SENSORS = {"gpu-pocl": sensors.packages, "gpu-gfx803": sensors.board}  # by class of worker


def card(backend: IsolatedBackend, settings: GpuSettings) -> WorkerCard:
    """Who this worker is."""
    return WorkerCard(
        worker=settings.name,
        worker_class=settings.worker_class or backend.name,
        service=NAME,
        pid=os.getpid(),
        device=backend.device.name,
        driver=backend.device.driver,
        memory=backend.device.memory,
        slots=SLOTS,
    )


def main() -> None:
    """Prove the device, then serve it."""
    settings = load(GpuSettings).of(NAME)
    telemetry.configure(NAME, worker=settings.name, level=settings.log_level)
    backend = startup.ready(settings)

    async def serve(bus: Bus, settings: GpuSettings) -> None:
        crosscheck = Crosscheck(backend.fitness, every=settings.crosscheck_every)
        watch = Watch(backend.fitness, crosscheck)
        await exchange.exchange(bus, Store(settings.cache), backend.device, backend.adopt)
        meter = Meter(SENSORS.get(backend.name, sensors.none_known))
        await compute.serve(bus, backend, card(backend, settings), settings, watch, meter)

    try:
        lifecycle.run(NAME, serve, settings)
    finally:
        backend.close()


if __name__ == "__main__":
    main()
