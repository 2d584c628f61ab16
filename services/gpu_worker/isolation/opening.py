"""What the child opens: the device and the backend on it, after they have proved themselves."""

from dataclasses import dataclass

from services.gpu_worker import selftest
from services.gpu_worker.backend import open_backend
from services.gpu_worker.isolation.messages import Ready
from services.gpu_worker.settings import GpuSettings
from shared.operators.spec import Backend


@dataclass(frozen=True, slots=True)
class Opened:
    """A backend, and what the parent is told of it."""

    backend: Backend
    ready: Ready


def opened(settings: str) -> Opened:
    """Open the device, test it, build what requests will need.

    Args:
        settings: GpuSettings as JSON.

    Raises:
        DeviceFailed: there is no device, or it refuses a kernel, or it computes wrongly.
    """
    wanted = GpuSettings.model_validate_json(settings)
    backend = open_backend(wanted.opencl_platform, wanted.cache, wanted.limits)
    tested = selftest.check(backend)
    selftest.warm(backend, backend.batches)
    device, programs = backend.device, backend.programs
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
        },
    )
    return Opened(backend, ready)
