"""Every operator that runs on the device, and the function that launches it."""

from collections.abc import Callable

from services.gpu_worker.launch import dense, elementwise
from services.gpu_worker.launch.call import Call

LAUNCHERS: dict[str, Callable[[Call], None]] = {
    "gemm_f32": dense.gemm_f32,
    "relu": elementwise.relu,
    "copy": elementwise.copy,
    "add": elementwise.add,
    "mul": elementwise.mul,
}
