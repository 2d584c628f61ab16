"""Numbers as evenly spaced spikes, 32 neurons at a time over all steps; see `spiking.rates`."""

from typing import Any

import numpy as np

from services.cpu_worker.simd.arithmetic import add, total, zero
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import masked
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load_some
from services.cpu_worker.simd.spikes import PLACES, below, clipped, load_codes, plus, shares

WORD = 32  # neurons, and bits
LANES = Lanes(WORD)
FRACTION = np.int32((1 << PLACES) - 1)


@kernel
def encode(x: Any, span: Any, steps: int, phase: Any, words: Any, first: int) -> None:
    """One row of numbers as spikes.

    Args:
        x: float32 of any size; the row is `span` of it, the first number and the one after the
            last.
        phase: int32 below 2**24, one per number, as long as whole words.
        words: uint32, written from `first` on: (steps, words).
    """
    start, end = span
    count = (end - start + WORD - 1) // WORD
    for word in range(count):
        at = start + WORD * word
        share = shares(clipped(load_some(LANES, x, at, end - at)))
        reached = load_codes(LANES, phase, WORD * word)
        for step in range(steps):
            reached = masked(plus(reached, share), FRACTION)
            words[first + step * count + word] = below(reached, share)


@kernel
def evenly(span: Any, x: Any, steps: int, k: int, phase: Any, words: Any) -> None:
    """Some rows of numbers as spikes.

    Args:
        span: first row, and the row after the last one.
        x: (n * k,) float32.
        phase: see `encode`.
        words: (n * steps * ceil(k / 32),) uint32, written.
    """
    size = steps * ((k + WORD - 1) // WORD)
    for row in range(span[0], span[1]):
        encode(x, (row * k, row * k + k), steps, phase, words, row * size)


@shared
def evenly_shared(bounds: Any, x: Any, steps: int, k: int, phase: Any, words: Any) -> None:
    """`evenly` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        evenly((bounds[share], bounds[share + 1]), x, steps, k, phase, words)


@kernel
def summed(x: Any) -> float:
    """Roughly how many spikes the numbers (count,) float32 make in a step."""
    made = zero(LANES)
    for word in range((x.size + WORD - 1) // WORD):
        made = add(made, clipped(load_some(LANES, x, WORD * word, x.size - WORD * word)))
    return float(total(made))
