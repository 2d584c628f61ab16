"""Tries the device in a process of its own: ``python -m services.gpu_worker.probe``.

Writes one line of JSON: `platforms` (what is installed), and `device` (what this worker would run
on, after it built and ran a kernel) or `error`. A driver that aborts takes this process alone.
"""

import json
import sys

import numpy as np
import pyopencl as cl

from services.gpu_worker import device
from services.gpu_worker.device import Device
from shared.chassis.settings import DeviceSettings, load
from shared.contracts.errors import DeviceFailed

SOURCE = """
__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void square(__global const float* restrict x, __global float* restrict y)
{
    y[get_global_id(0)] = x[get_global_id(0)] * x[get_global_id(0)];
}
"""


def report(settings: DeviceSettings) -> dict[str, object]:
    """Platforms, and the device that works or the reason why none does."""
    try:
        opened = device.open_device(settings.opencl_platform, settings.cache)
        try_kernel(opened)
    except DeviceFailed as error:
        return {
            "platforms": platforms(),
            "error": {"code": error.code, "message": str(error), "fix": error.fix},
        }
    return {
        "platforms": platforms(),
        "device": {
            "name": opened.name,
            "driver": opened.driver,
            "class": opened.worker_class,
            "memory": opened.limits.memory_bytes,
        },
    }


def platforms() -> list[str]:
    """Name and version of every installed OpenCL platform."""
    try:
        return [f"{platform.name} {platform.version}" for platform in cl.get_platforms()]
    except cl.Error:
        return []


def try_kernel(opened: Device) -> None:
    """Build and run a kernel whose answer is known.

    Raises:
        DeviceFailed: it does not build, or computes something else.
    """
    x = np.arange(64, dtype=np.float32)
    y = np.empty_like(x)
    with device.trouble(f"a first kernel on {opened.name}"):
        program = cl.Program(opened.context, SOURCE).build()
        flags = cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR
        source = cl.Buffer(opened.context, flags, hostbuf=x)
        target = cl.Buffer(opened.context, cl.mem_flags.WRITE_ONLY, y.nbytes)
        program.square(opened.queue, (64,), (64,), source, target)
        cl.enqueue_copy(opened.queue, y, target)
        opened.finish()
    if not np.array_equal(y, x * x):
        raise DeviceFailed(f"{opened.name} computes squares wrongly")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(report(load(DeviceSettings))) + "\n")
