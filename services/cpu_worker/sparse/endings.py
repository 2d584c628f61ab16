"""What happens to a sum before it is written: the row's scale, its bias, the clip at zero."""

from typing import Any

import numpy as np

from services.cpu_worker.simd.arithmetic import add, mul, rectified, splat, width
from services.cpu_worker.simd.compiled import kernel
from services.cpu_worker.simd.memory import store, store_some

# An ending is (scale, bias, relu): (rows,) or (0,) float32 twice, and a bool. An empty array means
# that there is none, so that one compiled kernel serves every call.


@kernel
def ended(total: Any, row: int, ending: Any) -> Any:
    """The result of a row whose sum is a number; NaN stays NaN."""
    scale, bias, relu = ending
    if scale.size:
        total *= scale[row]
    if bias.size:
        total += bias[row]
    if relu and total < 0:
        total = np.float32(0)
    return total


@kernel
def ended_tile(lanes: Any, total: Any, row: int, ending: Any) -> Any:
    """The results of a row whose sums are a vector."""
    scale, bias, relu = ending
    if scale.size:
        total = mul(total, splat(lanes, scale[row]))
    if bias.size:
        total = add(total, splat(lanes, bias[row]))
    if relu:
        total = rectified(total)
    return total


@kernel
def write_tile(lanes: Any, total: Any, row: int, ending: Any, tile: Any) -> None:
    """Write the results of a row whose sums are a vector.

    Args:
        tile: (y, n, column, count): y is (rows * n,) float32, and `count` columns of it from
            `column` on are written.
    """
    y, n, column, count = tile
    result = ended_tile(lanes, total, row, ending)
    if count == width(lanes):
        store(y, row * n + column, result)
    else:
        store_some(y, row * n + column, result, count)
