"""What the GPU worker would run on, as one JSON line on stdout; ends without serving.

`ellesmere doctor` starts it as a process of its own: a driver may abort where it should refuse.
"""

import json
import sys

from services.gpu_worker import device as devices
from services.gpu_worker import selftest
from services.gpu_worker.backend import open_backend
from services.gpu_worker.settings import GpuSettings
from shared.chassis.settings import load
from shared.contracts.errors import SuiteError

OPERATORS = ("gemm_f32",)  # one kernel tells whether the driver compiles, links and computes


def describe(settings: GpuSettings) -> dict[str, object]:
    """The platforms, and either the device that would serve or why there is none."""
    answer = _try(settings)
    return answer | {"platforms": list(devices.platforms())}


def _try(settings: GpuSettings) -> dict[str, object]:
    """Open the device and use it."""
    try:
        backend = open_backend(settings.opencl_platform, settings.cache, settings.limits)
        selftest.check(backend, OPERATORS)
    except SuiteError as error:
        return {"error": {"code": error.code, "message": str(error), "fix": error.fix}}
    device = backend.device
    facts = {
        "name": device.name,
        "driver": device.driver,
        "class": device.worker_class,
        "memory": device.limits.memory_bytes,
    }
    return {"device": facts}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(load(GpuSettings))) + "\n")
