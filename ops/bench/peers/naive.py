"""The kernels of naive.cl, and other people's routines, on the context of our backend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl

from ops.bench.contender import Call
from services.gpu_worker.backend import OpenCLBackend
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Layout, Tensor

SOURCE = Path(__file__).with_name("naive.cl")
LIMITS = Path(__file__).with_name("limits.cl")
Foreign = Callable[[Any, tuple[int, int, int], tuple[Any, Any, Any]], None]


class Naive:
    """Builds the kernels once; weights and x of each call are copied to the device."""

    def __init__(self, backend: OpenCLBackend) -> None:
        self._device = backend.device
        self._program = cl.Program(self._device.context, SOURCE.read_text()).build(["-w"])

    def sparse(self, weight: Tensor, x: F32, expected: F32) -> Call | None:
        """y = W x; None for a layout whose obvious kernel is another's (CSC turned is CSR)."""
        (rows, cols), n = weight.shape, x.shape[1]
        parts = weight.parts
        match weight.layout:
            case Layout.CSR:
                sizes: tuple[int, ...] = (n,)
                names: tuple[str, ...] = ("indptr", "indices", "values")
            case Layout.SELL:
                sizes, names = (n,), ("starts", "lengths", "order", "indices", "values")
            case Layout.BLOCK:
                _, height, width = parts["values"].shape
                sizes, names = (n, height, width, cols), ("indptr", "indices", "values")
            case Layout.BITMASK:
                sizes, names = (n, parts["words"].shape[1]), ("words", "starts", "values")
            case Layout.NM:
                some, of = (int(number) for number in parts["pattern"].view(np.int32))
                sizes, names = (n, parts["values"].shape[1], some, of), ("positions", "values")
            case _:
                return None
        arrays = [_wide(name, parts[name]) for name in names]
        return self._call(f"naive_{weight.layout}", (n, rows), sizes, [*arrays, x], expected)

    def dense(self, weight: Tensor, x: F32, expected: F32) -> Call:
        """y = x Wᵀ with the weight as it is stored."""
        m, k = weight.shape
        sizes: tuple[int, ...] = (m, k)
        name, arrays = "naive_gemm_f32", [x]
        match weight.layout:
            case Layout.INT8_CHANNEL:
                name = "naive_gemm_i8"
            case Layout.INT4_GROUP:
                name, sizes = "naive_gemm_i4", (m, k, k // weight.parts["scale"].shape[1])
        arrays += [weight.parts[part] for part in weight.parts]
        return self._call(name, (m, x.shape[0]), sizes, arrays, expected)

    def borrowed(
        self,
        routine: Foreign,
        sizes: tuple[int, int, int],
        operands: tuple[F32, F32],
        expected: F32,
    ) -> Call:
        """Another library's y = x Wᵀ on our queue; it waits by itself."""
        buffers = [self._buffer(array) for array in operands]
        y = self._buffer(np.zeros_like(expected))  # CLBlast multiplies it by 0, which keeps a NaN
        given = (buffers[0], buffers[1], y)
        queue = self._device.queue

        def call() -> None:
            routine(queue, sizes, given)

        self._check(call, y, expected)
        return call

    def multiply_adds(self) -> tuple[Call, float]:
        """Float32 multiply-adds on registers, and the flops of one call."""
        card = self._device.worker_class != "gpu-pocl"
        items, vec, rounds = (2**18, 4, 256) if card else (2**10, 16, 256)
        options = [f"-DVEC={vec}", f"-DROUNDS={rounds}", "-cl-mad-enable", "-cl-denorms-are-zero"]
        kernel = cl.Program(self._device.context, LIMITS.read_text()).build(options).multiply_adds
        y, queue = self._buffer(np.empty(items, np.float32)), self._device.queue

        def call() -> None:
            kernel(queue, (items,), (64,), np.float32(0.5), y)
            queue.finish()

        return call, float(items * rounds * 64 * 2 * vec)

    def _call(
        self,
        name: str,
        items: tuple[int, int],
        sizes: tuple[int, ...],
        arrays: list[Array],
        expected: F32,
    ) -> Call:
        kernel, queue = cl.Kernel(self._program, name), self._device.queue
        y = self._buffer(np.empty_like(expected))
        given = (*map(np.int32, sizes), *map(self._buffer, arrays), y)  # OpenCL retains no argument

        def call() -> None:
            kernel(queue, items, None, *given)
            queue.finish()

        self._check(call, y, expected)
        return call

    def _check(self, call: Call, y: cl.Buffer, expected: F32) -> None:
        call()
        made = np.empty_like(expected)
        cl.enqueue_copy(self._device.queue, made, y)
        np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-3)

    def _buffer(self, array: Array) -> cl.Buffer:
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        return cl.Buffer(self._device.context, flags, hostbuf=np.ascontiguousarray(array))


def _wide(name: str, part: Array) -> Array:
    """Indices as the obvious kernels take them."""
    return part.astype(np.int32) if name == "indices" else part
