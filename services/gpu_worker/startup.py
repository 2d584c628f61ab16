"""From settings to a device that has proved itself, or one clear line and an exit code."""

import sys
from time import perf_counter

import structlog

from services.gpu_worker.isolation.backend import DeviceUnusable, IsolatedBackend
from services.gpu_worker.settings import GpuSettings

DEVICE_UNUSABLE = 4  # exit code: no device, or one that failed; starting again changes nothing
log = structlog.get_logger()


def ready(settings: GpuSettings) -> IsolatedBackend:
    """Open the device in a child process, test it there, build what requests will need.

    Raises:
        SystemExit: with DEVICE_UNUSABLE, after the reason and the fix were logged.
    """
    start = perf_counter()
    backend = IsolatedBackend(settings)
    try:
        device = backend.open()
    except DeviceUnusable as error:
        refused = error.refused
        log.error("device.unusable", reason=refused.text, code=refused.code, fix=refused.fix)
        sys.exit(DEVICE_UNUSABLE)
    log.info(
        "device.ready",
        device=device.name,
        driver=device.driver,
        worker_class=backend.name,
        child=backend.keeper.pid,
        start_s=round(perf_counter() - start, 3),
        **device.facts,
    )
    return backend
