"""What is seen of a value over many rows, in bounded memory: extremes, histogram, second moments.

An `Observed` is a value. Rows are added a batch at a time, and what several workers saw is merged.
The histogram has `BINS` bins of equal width over a range that is symmetric around zero and a power
of two; when a larger value comes, the range doubles and bins join in pairs, which loses no count.
So any order of adding and merging gives the same counts; only the moving range knows an order.
"""

from dataclasses import dataclass, replace
from math import frexp, ldexp

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32

BINS = 4096  # over both signs
MOVING = 0.9  # weight of the past in the moving range: Jacob et al. 2018, section 3.1
MAX_GRAM = 8192  # columns of which second moments are kept: 512 MiB of float64
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What was seen of (n, k) values.

    `counts` (BINS,) int64 covers [-reach, reach); `gram` (k, k) float64 sums xᵀ x over rows.
    """

    rows: int
    low: float  # smallest value; 0 while nothing was seen
    high: float
    moving_low: float  # exponential average over batches
    moving_high: float
    reach: float  # a power of two, above every absolute value seen; 0 while nothing was seen
    counts: I64
    largest: F32  # (k,) largest absolute value of each column
    total: F64  # (k,) sum of each column
    gram: F64 | None

    @property
    def mean(self) -> F64:
        """(k,) mean of each column."""
        return self.total / max(self.rows, 1)


def empty(columns: int, *, gram: bool = False) -> Observed:
    """Nothing seen yet of values with so many columns.

    Raises:
        ValueError: second moments of more columns than `MAX_GRAM`.
    """
    if gram and columns > MAX_GRAM:
        raise ValueError(f"second moments of {columns} columns, over the limit of {MAX_GRAM}")
    moments = np.zeros((columns, columns)) if gram else None
    zeros = np.zeros(BINS, np.int64)
    none = np.zeros(columns, np.float32)
    return Observed(0, 0.0, 0.0, 0.0, 0.0, 0.0, zeros, none, np.zeros(columns), moments)


def add(seen: Observed, x: F32) -> Observed:
    """What was seen, with further rows.

    Args:
        x: (n, k) float32, finite.

    Raises:
        ValueError: another width, or NaN or infinity; names the place.
    """
    if x.ndim != 2 or x.shape[1] != seen.largest.size:
        raise ValueError(f"rows of {seen.largest.size} columns are observed, got shape {x.shape}")
    if not x.size:
        return seen
    if not np.isfinite(x).all():
        row, col = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"observed values must be finite, [{row}, {col}] is {x[row, col]}")
    low, high = float(x.min()), float(x.max())
    wide = x.astype(np.float64)
    batch = Observed(
        rows=len(x),
        low=low,
        high=high,
        moving_low=low,
        moving_high=high,
        reach=(reach := _reach(max(-low, high))),
        counts=_counted(x, reach),
        largest=np.abs(x).max(axis=0),
        total=wide.sum(axis=0),
        gram=wide.T @ wide if seen.gram is not None else None,
    )
    return merge(seen, batch)


def merge(first: Observed, second: Observed) -> Observed:
    """What both saw together. The moving range takes `second` for the later one.

    Raises:
        ValueError: another width, or only one has second moments.
    """
    if first.largest.size != second.largest.size or (first.gram is None) != (second.gram is None):
        raise ValueError("only observations of the same value can be merged")
    if not first.rows or not second.rows:
        return first if first.rows else second
    reach = max(first.reach, second.reach)
    gram = None
    if first.gram is not None and second.gram is not None:
        gram = first.gram + second.gram
    return replace(
        first,
        rows=first.rows + second.rows,
        low=min(first.low, second.low),
        high=max(first.high, second.high),
        moving_low=MOVING * first.moving_low + (1 - MOVING) * second.moving_low,
        moving_high=MOVING * first.moving_high + (1 - MOVING) * second.moving_high,
        reach=reach,
        counts=widened(first, reach) + widened(second, reach),
        largest=np.maximum(first.largest, second.largest),
        total=first.total + second.total,
        gram=gram,
    )


def widened(seen: Observed, reach: float) -> I64:
    """The histogram over a wider range; bins join, counts stay.

    Args:
        reach: a power of two, at least that of `seen`.
    """
    counts, held = seen.counts, seen.reach
    while 0 < held < reach:
        half = counts.reshape(-1, 2).sum(axis=1)
        counts = np.zeros(BINS, np.int64)
        counts[BINS // 4 : 3 * BINS // 4] = half
        held *= 2
    return counts


def edges(seen: Observed) -> F64:
    """(BINS + 1,) borders of the bins."""
    return np.linspace(-seen.reach, seen.reach, BINS + 1)


def _reach(largest: float) -> float:
    """The power of two above a value; above zero the smallest normal one."""
    return ldexp(1.0, max(frexp(largest)[1], -126)) if largest > 0 else ldexp(1.0, -126)


def _counted(x: F32, reach: float) -> I64:
    scale = BINS / (2 * reach)  # a power of two: the product is exact
    places = np.floor(x.astype(np.float64) * scale).astype(np.int64) + BINS // 2
    return np.bincount(places.ravel(), minlength=BINS)
