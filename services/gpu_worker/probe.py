"""What the GPU worker would run on, as one JSON line on stdout; ends without serving.

`ellesmere doctor` starts it as a process of its own: a driver may abort where it should refuse.
"""

import json
import sys
from dataclasses import asdict

import kernels
from services.gpu_worker import device as devices
from services.gpu_worker import selftest
from services.gpu_worker.backend import OpenCLBackend, open_backend
from services.gpu_worker.settings import GpuSettings
from services.gpu_worker.tuned import space, store
from services.gpu_worker.tuned.entry import Entry
from services.gpu_worker.tuned.store import Store
from shared.chassis import telemetry
from shared.chassis.settings import load
from shared.contracts.errors import DeviceFailed, SuiteError

NAME = "gpu-probe"


def describe(settings: GpuSettings) -> dict[str, object]:
    """The platforms, and either the device that would serve with its kernels, or why there is
    none."""
    answer = _try(settings)
    return answer | {"platforms": list(devices.platforms())}


def _try(settings: GpuSettings) -> dict[str, object]:
    """Open the device and use it."""
    try:
        backend = open_backend(settings.opencl_platform, settings.cache, settings.limits)
    except SuiteError as error:
        return {"error": {"code": error.code, "message": str(error), "fix": error.fix}}
    device = backend.device
    start = backend.choices.start.tuning
    key = store.key_of(device.name, device.driver, start)
    known = Store(settings.cache).read(key, start)
    entries = known.entries if known else ()
    facts = {
        "name": device.name,
        "driver": device.driver,
        "class": device.worker_class,
        "memory": device.limits.memory_bytes,
        "limits": asdict(device.limits),
        "doubles": device.doubles,
        "half": "vload_half",  # of OpenCL C itself: stored everywhere, computed with nowhere
        "tuned_key": key,
    }
    names = [name for name in kernels.NAMES if name in backend.operators]
    return {"device": facts, "kernels": [_kernel(backend, name, entries) for name in names]}


def _kernel(backend: OpenCLBackend, name: str, entries: tuple[Entry, ...]) -> dict[str, object]:
    """Whether a kernel builds and gives a known answer, and with which values it is launched."""
    tuned = [
        {"shape": entry.shape, "values": entry.values, "gain": entry.gain}
        for entry in entries
        if entry.operator == name
    ]
    said: dict[str, object] = {"name": name, "built": False, "right": False, "reason": None}
    said |= {"tunables": [field.name for field in space.of(name).fields], "tuned": tuned}
    try:
        selftest.check(backend, [name])
    except selftest.WrongAnswer as error:
        return said | {"built": True, "reason": str(error), "fix": error.fix}
    except DeviceFailed as error:
        return said | {"reason": str(error), "fix": error.fix}
    return said | {"built": True, "right": True}


if __name__ == "__main__":
    settings = load(GpuSettings)
    telemetry.configure(NAME, level=settings.log_level)
    sys.stdout.write(json.dumps(describe(settings)) + "\n")
