"""SET: drop the smallest weights, grow as many at random.

Source: Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse
connectivity inspired by network science", Algorithm 1. Dropping is by magnitude, as there: the
positive weights and the negative ones that are closest to zero.
"""

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


def grown(size: int, taken: I64, count: int, rng: np.random.Generator) -> I64:
    """Free positions, drawn uniformly without repetition.

    Args:
        size: elements of the layer.
        taken: (kept,) int64, rising: positions that are stored already.
        count: positions to grow.

    Returns:
        (count,) int64, rising.

    Raises:
        ValueError: fewer free positions than `count`.
    """
    free = size - taken.size
    if count > free:
        raise ValueError(f"{count} weights cannot grow at {free} free positions")
    ranks = np.sort(rng.choice(free, size=count, replace=False))
    # The r-th free position lies behind every taken one that has at most r free ones before it.
    before = taken - np.arange(taken.size)
    return np.asarray(ranks + np.searchsorted(before, ranks, side="right"), dtype=np.int64)
