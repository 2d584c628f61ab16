"""The range that the integers of a value should cover, from what was seen of it.

What lies outside is clipped. Each rule returns (low, high) with low <= 0 <= high, so that zero has
a code. A value that was always the same needs no search: its range is what was seen.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from shared.quantization import observers
from shared.quantization.observers import BINS, F64, I64, Observed

SEARCHED = 128  # thresholds that the searches try over the whole range
_SMALLEST_SCALE = float(np.finfo(np.float32).smallest_normal)


class Range(NamedTuple):
    """Values from `low` to `high` are told apart, others are clipped."""

    low: float
    high: float


class Affine(NamedTuple):
    """value = (code - zero) × scale; codes from `bottom` to `top`."""

    scale: float
    zero: int
    bottom: int
    top: int


def min_max(seen: Observed) -> Range:
    """Everything that was seen.

    Raises:
        ValueError: nothing was seen.
    """
    _require_rows(seen)
    return Range(min(seen.low, 0.0), max(seen.high, 0.0))


def moving(seen: Observed) -> Range:
    """The exponential average of each batch's extremes: Jacob et al. 2018, section 3.1.

    Raises:
        ValueError: nothing was seen.
    """
    _require_rows(seen)
    return Range(min(seen.moving_low, 0.0), max(seen.moving_high, 0.0))


def percentile(seen: Observed, share: float = 0.9999) -> Range:
    """The middle of what was seen: as many values lie below as above, together 1 - share.

    Raises:
        ValueError: nothing was seen, or the share is not above 0.5 and at most 1.
    """
    _require_rows(seen)
    if not 0.5 < share <= 1.0:
        raise ValueError(f"a percentile range keeps a share of 0.5..1, got {share}")
    tail = (1 - share) / 2 * seen.counts.sum()
    borders = observers.edges(seen)
    up = np.cumsum(seen.counts)
    first = int(np.searchsorted(up, tail, side="right"))
    last = int(np.searchsorted(up, up[-1] - tail, side="left"))
    low, high = max(borders[first], seen.low), min(borders[last + 1], seen.high)
    return Range(min(low, 0.0), max(high, 0.0))


def mse(seen: Observed, bits: int) -> Range:
    """The range of least mean squared error, rounding inside and clipping outside together.

    Raises:
        ValueError: nothing was seen, or bits outside 2..8.
    """
    return _searched(seen, bits, _squared_error)


def entropy(seen: Observed, bits: int) -> Range:
    """The range whose codes tell most: least Kullback-Leibler divergence from what was seen.

    For each threshold, what lies outside is added to the outermost bins (P); the bins are joined
    into as many groups as there are codes, and each group's own count is spread again over those of
    its bins that P does not leave empty (Q). So both have the same bins. Every range is searched.

    Raises:
        ValueError: nothing was seen, or bits outside 2..8.

    Source: Migacz 2017, "8-bit Inference with TensorRT", slides 24 to 36.
    """
    return _searched(seen, bits, _divergence)


def affine(found: Range, bits: int, *, symmetric: bool) -> Affine:
    """Scale and zero point that cover a range; the codes are signed.

    Symmetric codes leave out the smallest, so that zero is in the middle.

    Raises:
        ValueError: bits outside 2..8, or a range that is not ordered around zero.
    """
    _require_bits(bits)
    if not found.low <= 0.0 <= found.high:
        raise ValueError(f"a range holds zero, got {found.low} to {found.high}")
    top = 2 ** (bits - 1) - 1
    if symmetric:
        largest = float(max(-found.low, found.high))
        return Affine(max(largest / top, _SMALLEST_SCALE), 0, -top, top)
    scale = max(float(found.high - found.low) / (2**bits - 1), _SMALLEST_SCALE)
    bottom = -top - 1
    zero = int(np.clip(np.rint(bottom - found.low / scale), bottom, top))
    return Affine(scale, zero, bottom, top)


def _searched(seen: Observed, bits: int, loss: Callable[[I64, F64, int, int, int], float]) -> Range:
    """The best of `SEARCHED` thresholds; one-sided when no value is negative."""
    _require_rows(seen)
    _require_bits(bits)
    if seen.low == seen.high:
        return min_max(seen)
    borders, middle = observers.edges(seen), BINS // 2
    one_sided = seen.low >= 0
    levels = 2**bits if one_sided else 2**bits - 1
    last = int(np.ceil(max(-seen.low, seen.high) / seen.reach * middle))
    least = min(max(levels // (1 if one_sided else 2), 1), last)
    found = []
    for end in np.unique(np.linspace(least, last, SEARCHED).astype(np.int64)):
        first = middle if one_sided else middle - int(end)
        found.append((loss(seen.counts, borders, first, middle + int(end), levels), int(end)))
    _, best = min(found)
    high = float(borders[middle + best])
    return Range(0.0 if one_sided else max(-high, seen.low), min(high, max(seen.high, 0.0)))


def _squared_error(counts: I64, borders: F64, first: int, last: int, levels: int) -> float:
    """Over all values, each taken at the middle of its bin."""
    middles = (borders[:-1] + borders[1:]) / 2
    low, high = borders[first], borders[last]
    step = (high - low) / (levels - 1)
    inside = np.clip(middles, low, high)
    rounded = low + np.rint((inside - low) / step) * step
    return float((counts * (middles - rounded) ** 2).sum())


def _divergence(counts: I64, borders: F64, first: int, last: int, levels: int) -> float:
    """KL(P, Q) in nats; infinite where Q is empty and P is not."""
    inside = counts[first:last].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    group = np.arange(inside.size) * levels // inside.size
    filled = clipped > 0
    sums = np.bincount(group, weights=inside, minlength=levels)
    places = np.bincount(group, weights=filled, minlength=levels)
    spread = np.where(filled, sums[group] / np.maximum(places[group], 1), 0.0)
    if not spread.sum():
        return float("inf")
    p, q = clipped / clipped.sum(), spread / spread.sum()
    there = p > 0
    if (q[there] == 0).any():
        return float("inf")
    return float((p[there] * np.log(p[there] / q[there])).sum())


def _require_rows(seen: Observed) -> None:
    if not seen.rows:
        raise ValueError("a range needs at least one observed row, got none")


def _require_bits(bits: int) -> None:
    if not 2 <= bits <= 8:
        raise ValueError(f"codes have 2 to 8 bits, got {bits}")
