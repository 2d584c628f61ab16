"""Devices that fail as drivers do, for the child of a test; named by `module:function`.

A batch brings its fault along: the first value of an uploaded tensor arms it for the next call.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.gpu_worker import selftest
from services.gpu_worker.backend import OpenCLBackend, open_backend
from services.gpu_worker.isolation.messages import Ready
from services.gpu_worker.isolation.opening import Opened
from services.gpu_worker.settings import GpuSettings
from shared.contracts.errors import DeviceFailed
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, OperatorSpec
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor

ABORT, HANG, BUILD, WRONG, SUICIDE, LATE = 9001.0, 9002.0, 9003.0, 9004.0, 9005.0, 9006.0
HERE = "tests.opencl.faults"
STARTS = "starts"  # file in the cache folder: one byte for every start


class Faulty(OpenCLBackend):
    """The OpenCL backend with a driver that fails on demand."""

    armed = 0.0

    def upload(self, tensor: Tensor) -> Any:
        """Take the order, if there is one."""
        dense = tensor.layout is Layout.DENSE and tensor.dtype is Dtype.F32 and tensor.size
        self.armed = float(tensor.values.flat[0]) if dense else self.armed
        return super().upload(tensor)

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Any], attributes: Attributes
    ) -> dict[str, Any]:
        """Fail as ordered, or work."""
        match self.armed:
            case 9001.0:
                os.abort()
            case 9002.0:
                time.sleep(1e6)
            case 9003.0:
                self.programs.kernel("relu", {"WIDTH": "no such thing ("})
            case 9005.0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().run(spec, inputs, attributes)

    def download(self, resident: Any) -> Tensor:
        """What was computed, or something else."""
        if self.armed == LATE:
            raise DeviceFailed("waiting for the queue: CL_OUT_OF_RESOURCES")
        made = super().download(resident)
        if self.armed == WRONG:
            made.values.flat[made.size - 1] += 1e5
        return made


def faulty(settings: str) -> Opened:
    """PoCL, which passes a short test."""
    wanted = GpuSettings.model_validate_json(settings)
    inner = open_backend(wanted.opencl_platform, wanted.cache, wanted.limits)
    backend = Faulty(inner.device, wanted.cache)
    selftest.check(backend, ["gemm_f32"])
    return Opened(backend, _ready(backend.name, backend.operators))


def healthy_once(settings: str) -> Opened:
    """A device that computes wrongly from its second start on, as its test shows."""
    return _after(settings, 1, lambda: selftest.WrongAnswer("gemm_f32 gives 3, not 4"))


def never(settings: str) -> Opened:
    """A driver that takes its process along, always."""
    os.abort()


class Copying(ReferenceBackend):
    """The reference with a memory of its own, as a device has."""

    def upload(self, tensor: Tensor) -> Tensor:
        """Copy: the arrays may change afterwards."""
        parts = {name: array.copy() for name, array in tensor.parts.items()}
        return Tensor(tensor.layout, tensor.dtype, tensor.shape, parts)


def reference(settings: str) -> Opened:
    """No device at all: the reference, for what concerns processes alone."""
    return Opened(Copying(), _ready("gpu-none", tuple(s.name for s in catalog.CATALOG)))


class Sleeping(Copying):
    """A device that never finishes."""

    def synchronize(self) -> None:
        """Hang, deaf to signals that can be caught."""
        time.sleep(1e6)


def sleeping(settings: str) -> Opened:
    """A device that never finishes."""
    return Opened(Sleeping(), reference(settings).ready)


def _after(settings: str, good: int, error: Callable[[], Exception]) -> Opened:
    marks = Path(GpuSettings.model_validate_json(settings).cache) / STARTS
    with marks.open("ab") as file:
        file.write(b".")
    if marks.stat().st_size > good:
        raise error()
    return reference(settings)


def _ready(name: str, operators: tuple[str, ...]) -> Ready:
    return Ready("a device", "a driver", "a platform", name, 2**30, operators, True, {})
