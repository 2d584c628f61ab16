"""Launches of sums, means and largest values over one axis."""

from math import sqrt

import pyopencl as cl

from services.gpu_worker.launch.call import Call
from services.gpu_worker.programs import Kernel
from shared.operators import reductions
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType

ENOUGH = 16384  # results that fill a card, with a work-item or a wavefront each
LEAST = 1024  # elements of an axis that a part is worth a second launch for


def reduce_sum(call: Call) -> None:
    """y = the sum."""
    _reduce(call, "reduce_sum")


def reduce_max(call: Call) -> None:
    """y = the largest element."""
    _reduce(call, "reduce_max")


def reduce_mean(call: Call) -> None:
    """y = the sum divided by the number of elements, where the last launch divides."""
    x = call.inputs["x"].shape
    _reduce(call, "reduce_mean", float(x[reductions.place(call.attributes, len(x))]))


def parts(length: int, results: int) -> int:
    """Into how many parts an axis is cut, so that few results keep a card busy.

    Args:
        length: elements along the axis.
        results: of the whole reduction.
    """
    if length < 2 * LEAST or results >= ENOUGH:
        return 1
    return max(min(length // LEAST, int(sqrt(length)), ENOUGH // max(results, 1)), 1)


def _reduce(call: Call, name: str, divisor: float | None = None) -> None:
    x = call.inputs["x"].shape
    outer, length, inner = reductions.split(x, reductions.place(call.attributes, len(x)))
    source, target = call.buffer("x"), call.output("y")
    cut = parts(length, outer * inner)
    if cut > 1:
        step = -(-length // cut)
        cut = -(-length // step)
        partial = call.temporary(TensorType(Layout.DENSE, Dtype.F32, (outer, cut, inner)))
        undivided = None if divisor is None else 1.0
        _launch(call, name, (outer, length, inner), (step, cut), (source, partial), undivided)
        source, length = partial, cut
    _launch(call, name, (outer, length, inner), (max(length, 1), 1), (source, target), divisor)


def _launch(
    call: Call,
    name: str,
    sizes: tuple[int, int, int],
    cut: tuple[int, int],
    buffers: tuple[cl.Buffer | None, cl.Buffer],
    divisor: float | None,
) -> None:
    """One pass from (outer, length, inner) to (outer, parts, inner)."""
    (outer, length, inner), (_, count) = sizes, cut
    divisors = () if divisor is None else (divisor,)
    results = outer * count * inner
    if inner == 1:
        kernel, lanes = _along(call, name)
        kernel.launch(results * lanes, outer, length, *cut, *divisors, *buffers)
    else:
        kernel = call.gpu.programs.kernel(name, {})
        kernel.launch(results, outer, length, inner, *cut, *divisors, *buffers)


def _along(call: Call, name: str) -> tuple[Kernel, int]:
    """The kernel whose work-items share rows, and how many share one."""
    lanes = call.gpu.tuning.lanes
    defines = {"ALONG": 1, "LANES": lanes}
    return call.gpu.programs.kernel(name, defines, f"{name}_along"), lanes
