"""RigL: drop the smallest weights, grow where the dense gradient is largest.

Positions number the elements of a weight in row order. Grown weights start at zero, and what was
just dropped may grow again (then at zero), as in the paper.

Source: Evci et al. 2020, "Rigging the Lottery: Making All Tickets Winners", Algorithm 1.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from shared.pruning import masks
from shared.tensors.dtypes import F32

I64 = npt.NDArray[np.int64]


def surviving(values: F32, dropped: int) -> masks.Mask:
    """Which stored weights stay when the `dropped` smallest go; ties keep the lower position.

    Args:
        values: (stored,) float32, without NaN.

    Raises:
        ValueError: more are to be dropped than are stored, or a value is NaN.
    """
    return masks.magnitude(values, values.size - dropped)


def grown(blocks: Iterable[tuple[int, F32]], taken: I64, count: int) -> I64:
    """Free positions where the dense gradient is largest, seen block by block.

    Args:
        blocks: the first position of a block, and the gradient there, (any,) float32. Together
            they cover the layer; only one is held at a time.
        taken: (kept,) int64, rising: positions that are stored already.
        count: positions to grow.

    Returns:
        (count,) int64, rising.

    Raises:
        ValueError: fewer free positions than `count`, or a gradient that is NaN.
    """
    best, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    for first, slope in blocks:
        if np.isnan(slope).any():
            raise ValueError(
                f"the gradient is NaN at position {first + int(np.isnan(slope).argmax())}"
            )
        score = np.abs(slope)
        inside = taken[np.searchsorted(taken, first) : np.searchsorted(taken, first + slope.size)]
        score[inside - first] = -1.0
        free = np.flatnonzero(score >= 0)
        best = np.concatenate([best, free + first])
        scores = np.concatenate([scores, score[free]])
        if best.size > count:
            kept = masks.largest(scores, count)
            best, scores = best[kept], scores[kept]
    if best.size < count:
        raise ValueError(f"{count} weights cannot grow at {best.size} free positions")
    return best
