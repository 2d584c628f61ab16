"""Launches of layers in integers, and of what turns floats to bytes and back."""

import numpy as np
import pyopencl as cl

from services.gpu_worker.laid_out import CODE_PITCH, pitch
from services.gpu_worker.launch import blocks
from services.gpu_worker.launch.call import Call
from services.gpu_worker.launch.elementwise import quads
from shared.operators import static
from shared.operators.attributes import single, whole
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType

QUAD = 4  # bytes that one work-item of gemm_q8_widen writes


def quantize_i8(call: Call) -> None:
    """y = saturate(round(x / scale) + zero)."""
    inverse = np.float32(1.0) / single(call.attributes, "scale")
    _map(call, "quantize_i8", float(inverse))


def dequantize_i8(call: Call) -> None:
    """y = (x - zero) scale."""
    _map(call, "dequantize_i8", call.number("scale"))


def gemm_q8(call: Call) -> None:
    """Tiles in local memory for many rows on a card, else blocks straight from memory."""
    (n, k), (m, _) = call.inputs["x"].shape, call.inputs["weight"].shape
    tuning, programs = call.gpu.tuning, call.gpu.programs
    zeros = (whole(call.attributes, name) for name in ("x_zero", "y_zero"))
    x_zero, y_zero = zeros
    by = float(static.multiplier(call.attributes))
    sizes = (n, m, pitch(k) // CODE_PITCH, call.relu, x_zero, float(y_zero), by)
    buffers = (
        _widened(call),
        call.buffer("weight", "codes"),
        call.buffer("weight", "scale"),
        call.buffer("bias"),
        call.output("y"),
    )
    made: dict[str, int | str] = {"BYTES": int(call.types["y"].dtype is Dtype.I8)}
    if tuning.tile_from is not None and n >= tuning.tile_from:
        kernel = programs.kernel("gemm_q8", made)
        kernel.launch(blocks.tile_items(kernel, m), *sizes, *buffers, rows=blocks.tile_rows(n))
        return
    xrows = blocks.xrows(tuning.code_xrows, n)
    kernel = programs.kernel("gemm_q8", blocks.defines(tuning, xrows) | made, "gemm_q8_rows")
    kernel.launch(blocks.items(tuning, xrows, n, m), *sizes, *buffers)


def _widened(call: Call) -> cl.Buffer | None:
    """Rows of bytes that begin at multiples of 16; x itself where they do."""
    n, k = call.inputs["x"].shape
    if k == pitch(k) or not n:
        return call.buffer("x")
    made = call.temporary(TensorType(Layout.DENSE, Dtype.I8, (n, pitch(k))))
    kernel = call.gpu.programs.kernel("gemm_q8", {"WIDEN": 1}, "gemm_q8_widen")
    kernel.launch(pitch(k) // QUAD, k, pitch(k) // CODE_PITCH, call.buffer("x"), made, rows=n)
    return made


def _map(call: Call, name: str, factor: float) -> None:
    count, zero = call.inputs["x"].size, float(whole(call.attributes, "zero"))
    kernel = call.gpu.programs.kernel(name, call.gpu.tuning.items)
    kernel.launch(quads(count), count, factor, zero, call.buffer("x"), call.output("y"))
