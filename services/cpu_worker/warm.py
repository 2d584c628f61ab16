"""python -m services.cpu_worker.warm: compile the kernels now, so that no worker's start has to.

Run at installation, and by every worker before it reports ready: it takes a second when the kernels
are kept from before.
"""

import time

import structlog

from services.cpu_worker import engine
from services.cpu_worker.engine import Engine
from shared.chassis import telemetry
from shared.chassis.settings import CpuSettings, load

log = structlog.get_logger()


def start(settings: CpuSettings) -> Engine:
    """Compiled kernels if there can be any; one line says whether, or why not."""
    began = time.monotonic()
    wanted = settings.simd == "auto"
    found = engine.start(settings.cache, threads=settings.threads, compiled=wanted)
    say = log.info if found.compiled or not wanted else log.warning
    seconds = round(time.monotonic() - began, 3)
    say("kernels.started", compiled=found.compiled, reason=found.reason, start_s=seconds)
    return found


def main() -> None:
    """Without compiled kernels everything runs too, so this never fails an installation."""
    settings = load(CpuSettings)
    telemetry.configure("cpu-worker", level=settings.log_level)
    start(settings)


if __name__ == "__main__":
    main()
