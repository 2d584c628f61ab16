"""From settings to a backend that has proved itself, or one clear line and an exit code."""

import sys
from time import perf_counter

import structlog

from services.gpu_worker import selftest
from services.gpu_worker.backend import OpenCLBackend, open_backend
from services.gpu_worker.settings import GpuSettings
from shared.contracts.errors import SuiteError

DEVICE_UNUSABLE = 4  # exit code: no device, or one that failed; starting again changes nothing
log = structlog.get_logger()


def ready(settings: GpuSettings) -> OpenCLBackend:
    """Open the device, test it, build what requests will need.

    Raises:
        SystemExit: with DEVICE_UNUSABLE, after the reason and the fix were logged.
    """
    start = perf_counter()
    try:
        backend = open_backend(settings.opencl_platform, settings.cache, settings.limits)
        operators = selftest.check(backend)
        selftest.warm(backend, backend.batches)
    except SuiteError as error:
        log.error("device.unusable", reason=str(error), code=error.code, fix=error.fix)
        sys.exit(DEVICE_UNUSABLE)
    log.info(
        "device.ready",
        device=backend.device.name,
        driver=backend.device.driver,
        worker_class=backend.name,
        operators=operators,
        built=backend.programs.built_from_source,
        loaded=backend.programs.loaded_from_cache,
        start_s=round(perf_counter() - start, 3),
    )
    return backend
