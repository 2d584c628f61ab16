"""Launches of products with weights of few bits."""

import pyopencl as cl

from services.gpu_worker import nibbles
from services.gpu_worker.laid_out import CODE_PITCH, pitch
from services.gpu_worker.launch import blocks
from services.gpu_worker.launch.call import Call
from services.gpu_worker.resident import Part
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType

BYTE_TILE = 64  # rows of x, and of the weight, per tile of gemm_i4_bytes


def gemm_i8(call: Call) -> None:
    """Tiles in local memory for many rows on a card, else blocks straight from memory.

    With `x_bits` 8 the rows of x are replaced by what their bytes stand for: the card has no 8-bit
    dot product, and bytes of x would save little beside those of the weight.
    """
    (n, k), (m, _) = call.inputs["x"].shape, call.inputs["weight"].shape
    tuning, programs = call.gpu.tuning, call.gpu.programs
    sizes = (n, m, k, pitch(k) // CODE_PITCH, call.relu)
    buffers = (
        _as_bytes(call) if call.attributes["x_bits"] == 8 and n * k else call.buffer("x"),
        call.buffer("weight", "codes"),
        call.buffer("weight", "scale"),
        call.buffer("bias"),
        call.output("y"),
    )
    aligned = blocks.alignment(tuning, k, CODE_PITCH)
    if tuning.tile_from is not None and n >= tuning.tile_from:
        kernel = programs.kernel("gemm_i8", aligned)
        kernel.launch(blocks.tile_items(kernel, m), *sizes, *buffers, rows=blocks.tile_rows(n))
        return
    xrows = blocks.xrows(tuning.code_xrows, n)
    kernel = programs.kernel("gemm_i8", blocks.defines(tuning, xrows) | aligned, "gemm_i8_rows")
    kernel.launch(blocks.items(tuning, xrows, n, m), *sizes, *buffers)


def _as_bytes(call: Call) -> cl.Buffer:
    """x rounded to bytes row by row, in float32."""
    n, k = call.inputs["x"].shape
    made = call.temporary(TensorType(Layout.DENSE, Dtype.F32, (n, k)))
    kernel = call.gpu.programs.kernel("gemm_i8", {"ROUND": 1}, "gemm_i8_round")
    kernel.launch(n * kernel.group, k, call.buffer("x"), made)
    return made


def gemm_i4(call: Call) -> None:
    """Activations as they are, or rounded to bytes first; then tiles or blocks, as above."""
    (n, k), (m, _) = call.inputs["x"].shape, call.inputs["weight"].shape
    cut = nibbles.Cut(k, call.inputs["weight"].parts["scale"].shape[1])
    if n * m == 0:  # an empty row cannot be read, not even to be left out
        call.output("y")
        return
    sizes = (n, m, cut.steps, cut.shift, call.relu)
    weight = (call.buffer("weight", "codes"), call.buffer("weight", "scale"), call.buffer("bias"))
    if call.attributes["x_bits"] == 8:
        _bytes(call, sizes, (*_rounded(call, cut), *weight, call.output("y")))
    else:
        _floats(call, sizes, (_spread(call, cut, call.buffer("x")), *weight, call.output("y")))


def _floats(call: Call, sizes: tuple[int, ...], buffers: tuple[cl.Buffer | None, ...]) -> None:
    n, m, *_ = sizes
    tuning, programs = call.gpu.tuning, call.gpu.programs
    if tuning.tile_from is not None and n >= tuning.tile_from:
        kernel = programs.kernel("gemm_i4", {})
        kernel.launch(blocks.tile_items(kernel, m), *sizes, *buffers, rows=blocks.tile_rows(n))
        return
    xrows, wrows = blocks.xrows(tuning.nibble_xrows, n), tuning.nibble_wrows
    kernel = programs.kernel("gemm_i4", blocks.defines(tuning, xrows, wrows), "gemm_i4_rows")
    kernel.launch(blocks.items(tuning, xrows, n, m, wrows), *sizes, *buffers)


def _bytes(call: Call, sizes: tuple[int, ...], buffers: tuple[cl.Buffer | None, ...]) -> None:
    n, m, *_ = sizes
    tuning, programs = call.gpu.tuning, call.gpu.programs
    if tuning.tile_from is not None and n >= tuning.tile_from:
        kernel = programs.kernel("gemm_i4", {"BYTES": 1}, "gemm_i4_bytes")
        groups, rows = -(-m // BYTE_TILE), -(-n // BYTE_TILE)
        kernel.launch(groups * kernel.group, *sizes, *buffers, rows=rows)
        return
    xrows, wrows = blocks.xrows(tuning.byte_xrows, n), tuning.nibble_wrows
    defines = blocks.defines(tuning, xrows, wrows) | {"BYTES": 1}
    kernel = programs.kernel("gemm_i4", defines, "gemm_i4_bytes_rows")
    kernel.launch(blocks.items(tuning, xrows, n, m, wrows), *sizes, *buffers)


def gemm_int(call: Call) -> None:
    """Tiles or blocks as for gemm_i8; `x_bits` 8 as there too."""
    (n, k), (m, _) = call.inputs["x"].shape, call.inputs["weight"].shape
    weight = call.inputs["weight"].parts
    cut = nibbles.Cut(k, weight["scale"].shape[1])
    if n * m == 0:
        call.output("y")
        return
    rounded = call.attributes["x_bits"] == 8 and k
    buffers = (
        _spread(call, cut, _as_bytes(call) if rounded else call.buffer("x")),
        *(call.buffer("weight", part) for part in ("codes", "scale", "zero")),
        call.buffer("bias"),
        call.output("y"),
    )
    sizes = (n, m, cut.steps, cut.shift, call.relu, *_widths(weight["scale"], weight["zero"]))
    bits: dict[str, int | str] = {"BITS": weight["codes"].shape[1] // cut.steps} if k else {}
    tuning, programs = call.gpu.tuning, call.gpu.programs
    if tuning.tile_from is not None and n >= tuning.tile_from:
        kernel = programs.kernel("gemm_int", bits)
        kernel.launch(blocks.tile_items(kernel, m), *sizes, *buffers, rows=blocks.tile_rows(n))
        return
    xrows = blocks.xrows(tuning.code_xrows, n)
    kernel = programs.kernel("gemm_int", blocks.defines(tuning, xrows) | bits, "gemm_int_rows")
    kernel.launch(blocks.items(tuning, xrows, n, m), *sizes, *buffers)


def _widths(scale: Part, zero: Part) -> tuple[int, int, int]:
    """From one row of scales to the next, of zeros, and from one group's zero to the next."""
    (rows, groups), (zero_rows, zeros) = scale.shape, zero.shape
    return (groups if rows > 1 else 0, zeros if zero_rows > 1 else 0, int(zeros > 1))


def _spread(call: Call, cut: nibbles.Cut, x: cl.Buffer | None) -> cl.Buffer | None:
    """x with every group of columns filled up to whole steps; x itself where they are whole."""
    n, k = call.inputs["x"].shape
    if cut.whole:
        return x
    columns = cut.steps * nibbles.STEP
    spread = call.temporary(TensorType(Layout.DENSE, Dtype.F32, (n, columns)))
    kernel = call.gpu.programs.kernel("gemm_i4", {"ROUND": 1}, "gemm_i4_spread")
    kernel.launch(columns, cut.steps, k, cut.group, cut.width, x, spread, rows=n)
    return spread


def _rounded(call: Call, cut: nibbles.Cut) -> tuple[cl.Buffer, ...]:
    """Bytes, where the sums of steps begin, and a scale: for every row of x."""
    n, k = call.inputs["x"].shape
    shapes = {Dtype.I8: (n, cut.steps * nibbles.STEP), Dtype.I32: (n, cut.steps), Dtype.F32: (n,)}
    made = tuple(
        call.temporary(TensorType(Layout.DENSE, dtype, shape)) for dtype, shape in shapes.items()
    )
    kernel = call.gpu.programs.kernel("gemm_i4", {"ROUND": 1}, "gemm_i4_round")
    kernel.launch(
        n * kernel.group, cut.steps, k, cut.group, max(cut.width, 1), call.buffer("x"), *made
    )
    return made
