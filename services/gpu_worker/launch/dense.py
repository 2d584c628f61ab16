"""Launches of products with dense float32 weights."""

from services.gpu_worker.launch import blocks
from services.gpu_worker.launch.call import Call


def gemm_f32(call: Call) -> None:
    """Tiles in local memory for many rows on a card, else blocks straight from memory."""
    (n, k), (m, _) = call.inputs["x"].shape, call.inputs["weight"].shape
    tuning, programs = call.gpu.tuning, call.gpu.programs
    sizes = (n, m, k, call.relu)
    buffers = (
        call.buffer("x"),
        call.buffer("weight"),
        call.buffer("bias"),
        call.output("y"),
    )
    if tuning.tile_from is not None and n >= tuning.tile_from:
        kernel = programs.kernel("gemm_f32", blocks.alignment(tuning, k, blocks.QUAD))
        kernel.launch(blocks.tile_items(kernel, m), *sizes, *buffers, rows=blocks.tile_rows(n))
        return
    xrows = blocks.xrows(tuning.xrows, n)
    defines = blocks.defines(tuning, xrows) | blocks.alignment(tuning, k, tuning.vec)
    kernel = programs.kernel("gemm_f32", defines | {"VEC": tuning.vec}, "gemm_f32_rows")
    kernel.launch(blocks.items(tuning, xrows, n, m), *sizes, *buffers)
