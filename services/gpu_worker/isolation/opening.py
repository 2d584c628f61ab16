"""What the child opens: the device and the backend on it, after they have proved themselves."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from services.gpu_worker import selftest
from services.gpu_worker.backend import open_backend
from services.gpu_worker.isolation.messages import Ready
from services.gpu_worker.settings import GpuSettings
from services.gpu_worker.tuned import recheck, store
from services.gpu_worker.tuned.store import Store
from shared.chassis import telemetry
from shared.operators.spec import Backend


def _ignore(document: bytes) -> None:
    """What a device does with tuned values if it has nothing to tune."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A backend, what the parent is told of it, and what takes tuned values later."""

    backend: Backend
    ready: Ready
    adopt: Callable[[bytes], None] = _ignore


def opened(settings: str) -> Opened:
    """Open the device, test it, build what requests will need.

    Args:
        settings: GpuSettings as JSON.

    Raises:
        DeviceFailed: there is no device, or it refuses a kernel, or it computes wrongly.
    """
    wanted = GpuSettings.model_validate_json(settings)
    telemetry.configure(wanted.service, level=wanted.log_level)
    backend = open_backend(wanted.opencl_platform, wanted.cache, wanted.limits)
    tested = selftest.check(backend)
    selftest.warm(backend, backend.batches)
    device, programs = backend.device, backend.programs
    start = backend.choices.start.tuning
    key = store.key_of(device.name, device.driver, start)
    known = Store(wanted.cache).read(key, start)
    tuned = recheck.adopt(backend, known.entries if known else (), turn=os.getpid())
    ready = Ready(
        name=device.name,
        driver=device.driver,
        platform=device.platform,
        worker_class=backend.name,
        memory=device.limits.memory_bytes,
        operators=backend.operators,
        doubles=device.doubles,
        facts={
            "operators": tested,
            "built": programs.built_from_source,
            "loaded": programs.loaded_from_cache,
            "tuned": len(tuned.kept),
        },
    )
    return Opened(backend, ready, partial(recheck.take, backend, key))
