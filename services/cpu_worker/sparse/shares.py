"""Shares of rows for threads: equal work, not equal numbers of rows."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

ROW = 8  # what a row costs beside its elements, in elements: its pointers, its sum, its result


def of(indptr: npt.NDArray[np.int32], count: int) -> I64:
    """Cut rows where the stored elements before them reach a whole share.

    Args:
        indptr: (rows + 1,) int32, where the elements of a row start.
        count: shares, 1 or more. A row is never cut, so shares may be empty.

    Returns:
        (count + 1,) int64, from 0 to rows, never falling: share i is rows bounds[i]:bounds[i + 1].
    """
    rows = indptr.size - 1
    work = indptr.astype(np.int64) + ROW * np.arange(rows + 1)
    wanted = np.linspace(0, work[-1], count + 1)
    before = np.searchsorted(work, wanted).clip(0, rows)
    nearer = np.abs(work[np.maximum(before - 1, 0)] - wanted) < np.abs(work[before] - wanted)
    bounds = before - nearer
    bounds[0], bounds[-1] = 0, rows
    return np.asarray(np.maximum.accumulate(bounds), dtype=np.int64)


@lru_cache(maxsize=256)
def even(rows: int, count: int) -> I64:
    """(count + 1,) int64: as many rows to every share; made once, so readers must not write."""
    return np.arange(count + 1, dtype=np.int64) * rows // count
