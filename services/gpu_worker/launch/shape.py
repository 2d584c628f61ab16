"""Launches of operators that move elements, or only rename their places."""

from math import prod

import numpy as np
import pyopencl as cl

from services.gpu_worker.launch.call import Call, Gpu

TILE = 32  # the kernel's own default
AXES = 8  # that its general form takes


def reshape(call: Call) -> None:
    """The same bytes under another shape: no launch, no copy."""
    call.outputs["y"] = call.gpu.residency.view(call.inputs["x"], call.types["y"])


def transpose(call: Call) -> None:
    """A batch of matrices goes through local memory, any other order element by element."""
    x = call.inputs["x"]
    sizes, perm = merged(x.shape, call.integers("perm"))
    source, target = call.buffer("x"), call.output("y")
    if x.size == 0:  # the other axes of an empty tensor may exceed an int
        return
    if perm == (1, 0):
        turn(call.gpu, source, target, batch=1, rows=sizes[0], cols=sizes[1])
    elif perm == (0, 2, 1):
        turn(call.gpu, source, target, batch=sizes[0], rows=sizes[1], cols=sizes[2])
    else:
        _scatter(call.gpu, source, target, sizes, perm)


def turn(
    gpu: Gpu, source: cl.Buffer | None, target: cl.Buffer, *, batch: int, rows: int, cols: int
) -> None:
    """Transpose each (rows, cols) matrix of a batch."""
    kernel = gpu.programs.kernel("transpose", {"MATRIX": 1}, "transpose_matrix")
    across, down = -(-cols // TILE), -(-rows // TILE)
    kernel.launch(across * kernel.group, rows, cols, source, target, rows=down * batch)


def merged(
    shape: tuple[int, ...], perm: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same move with fewer axes: those of size 1 dropped, neighbours that stay so joined.

    Args:
        shape: sizes of x.
        perm: for each axis of y, the one of x.

    Returns:
        Sizes of the joined axes of x, and their order in y.
    """
    runs: list[list[int]] = []
    for axis in (axis for axis in perm if shape[axis] != 1):
        between = shape[runs[-1][-1] + 1 : axis] if runs else ()
        if runs and runs[-1][-1] < axis and prod(between) == 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    order = sorted(range(len(runs)), key=lambda run: runs[run][0])
    sizes = tuple(prod(shape[axis] for axis in runs[run]) for run in order)
    return sizes, tuple(order.index(run) for run in range(len(runs)))


def _scatter(
    gpu: Gpu,
    source: cl.Buffer | None,
    target: cl.Buffer,
    sizes: tuple[int, ...],
    perm: tuple[int, ...],
) -> None:
    """Any order of up to AXES axes, an element at a time."""
    strides = [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    unused = AXES - len(perm)
    shape = np.array([1] * unused + [sizes[axis] for axis in perm], np.int32)
    steps = np.array([0] * unused + [strides[axis] for axis in perm], np.int32)
    count = prod(sizes)
    gpu.programs.kernel("transpose", {}).launch(count, count, shape, steps, source, target)
