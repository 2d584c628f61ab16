"""Launches of products with weights of few bits."""

from services.gpu_worker.laid_out import CODE_PITCH, pitch
from services.gpu_worker.launch import blocks
from services.gpu_worker.launch.call import Call


def gemm_i8(call: Call) -> None:
    """Tiles in local memory for many rows on a card, else blocks straight from memory."""
    (n, k), (m, _) = call.inputs["x"].shape, call.inputs["weight"].shape
    tuning, programs = call.gpu.tuning, call.gpu.programs
    sizes = (n, m, k, pitch(k) // CODE_PITCH, call.relu)
    buffers = (
        call.buffer("x"),
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
