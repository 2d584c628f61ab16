"""A whole worker around a backend: artifacts, durable jobs, interactive calls, sessions."""

import os

import anyio
import structlog
import threadpoolctl  # type: ignore[import-untyped]  # it has no stubs

from shared.bus.port import Bus
from shared.chassis import artifacts, interactive, stepping, worker
from shared.chassis.device import DeviceThread
from shared.chassis.energy import Meter
from shared.chassis.executor import BackendHandler
from shared.chassis.settings import WorkerSettings
from shared.chassis.training import Trainer
from shared.chassis.watch import Watch
from shared.contracts.v1.workers import WorkerCard
from shared.operators import catalog
from shared.operators.spec import Backend

GUARD_EVERY = 1.0  # [s]
HUNG = 1  # exit code
BLAS_THREADS = 1  # a spinning pool of two costs more than it gives; workers share the cores

log = structlog.get_logger()


async def serve(
    bus: Bus,
    backend: Backend,
    card: WorkerCard,
    settings: WorkerSettings,
    watch: Watch | None = None,
    meter: Meter | None = None,
) -> None:
    """Serve a backend until cancelled, then drain both lanes and release the artifacts.

    Args:
        backend: called from one thread; one with a true `thread_bound` from no other. One with a
            true `guarded` ends calls that hang by itself.
        card: who the worker is; the operators come from the catalogue.
        watch: over a device that may fail, or compute wrongly; None: the backend does neither.
        meter: of the energy that the device takes; None: nothing tells it.
    """
    watch = watch or Watch()
    threadpoolctl.threadpool_limits(BLAS_THREADS)
    whole = card.model_copy(update={"operators": tuple(spec.name for spec in catalog.CATALOG)})
    device = DeviceThread(backend)
    try:
        async with artifacts.keep(bus, device) as held, anyio.create_task_group() as group:
            if not getattr(backend, "guarded", False):
                group.start_soon(_guard, device, settings.device_patience)
            group.start_soon(interactive.serve, bus, whole, held, device, None, watch)
            group.start_soon(stepping.serve, bus, whole.worker, held, device, watch)
            handler = BackendHandler(device, held, Trainer(bus, device, held), watch, meter)
            fitness, loaded = watch.fitness, held.digests
            await worker.serve(bus, whole, handler, settings, loaded=loaded, fitness=fitness)
    finally:
        device.close()


async def _guard(device: DeviceThread, patience: float) -> None:
    """End the process when a device call hangs: its thread cannot be stopped, and the heartbeats
    of the loop must not keep its job alive. The broker delivers the job again, elsewhere."""
    while True:
        await anyio.sleep(GUARD_EVERY)
        if device.stuck(patience):
            log.critical("device.hung", backend=device.backend.name, patience_s=patience)
            os._exit(HUNG)
