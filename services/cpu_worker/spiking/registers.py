"""All steps of a layer whose potentials and sums never leave the registers; see `events`.

Neurons are taken 128 at a time, then 32. Inputs that spike are listed once for all of them.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.arithmetic import add, mul, splat, width
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import load_words, numbers
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, store
from services.cpu_worker.simd.spikes import above, chosen, plus
from services.cpu_worker.spiking.events import SEQUENCE, TABLE

WORD = 32  # neurons, and bits
ONE, FOUR = Lanes(WORD), Lanes(4 * WORD)


@kernel
def _listed(words: Any, first: int, sizes: Any, stride: int, found: Any, ends: Any) -> None:
    """Where the codes of the inputs begin that spike in each step of a row."""
    steps, count, _ = sizes
    size = 0
    for step in range(steps):
        for word in range(count):
            left = words[first + step * count + word]
            while left != 0:
                low = left & (~left + np.uint32(1))
                place = WORD * word + TABLE[np.uint32(low * SEQUENCE) >> np.uint32(27)]
                found[size] = place * stride
                size += 1
                left ^= low
        ends[step + 1] = size


@kernel
def _neurons(lanes: Any, at: Any, sizes: Any, arrays: Any, lists: Any, neuron: Any) -> None:
    """All steps of as many neurons as there are lanes, `at` a row and its first neuron."""
    steps, _, wide = sizes
    row, column = at
    codes, bias, v, fired = arrays
    found, ends = lists
    unit, decay, leak, threshold, reset, subtract = neuron
    potential, constant = load(lanes, v, row * wide + column), load_words(lanes, bias, column)
    for step in range(steps):
        total = constant
        for place in range(ends[step], ends[step + 1]):
            total = plus(total, load_words(lanes, codes, found[place] + column))
        fallen = mul(splat(lanes, decay), add(potential, splat(lanes, -leak)))
        arrived = mul(numbers(total), splat(lanes, unit))
        u = add(add(splat(lanes, leak), fallen), arrived)
        after = splat(lanes, reset)
        if subtract:
            after = add(u, splat(lanes, -threshold))
        first = ((row * steps + step) * wide + column) // WORD
        for word in range(width(lanes) // WORD):
            fired[first + word] = above(u, threshold, word)
        potential = chosen(u, threshold, after, u)
    store(v, row * wide + column, potential)


@kernel
def layer(span: Any, sizes: Any, arrays: Any, neuron: Any) -> None:
    """All steps of some rows.

    Args:
        span: first row, and the row after the last one.
        sizes: (steps, words of a step's inputs, neurons rounded up to words).
        arrays: (words, codes, bias, v, fired): (n * steps * words,) uint32; (k * wide,) and
            (wide,) int32; (n * wide,) float32, first potentials and then the last; spikes as
            words, written, those of neurons that are only rounded up to included.
        neuron: (potential per unit of a code, decay, leak, threshold, reset) float32, and whether
            resets subtract.
    """
    steps, count, wide = sizes
    words, codes, bias, v, fired = arrays
    rest = (codes, bias, v, fired)
    found = np.empty(WORD * count * steps, np.int64)
    ends = np.zeros(steps + 1, np.int64)
    for row in range(span[0], span[1]):
        _listed(words, row * steps * count, sizes, wide, found, ends)
        column = 0
        while column + 4 * WORD <= wide:
            _neurons(FOUR, (row, column), sizes, rest, (found, ends), neuron)
            column += 4 * WORD
        while column < wide:
            _neurons(ONE, (row, column), sizes, rest, (found, ends), neuron)
            column += WORD


@shared
def layer_shared(bounds: Any, sizes: Any, arrays: Any, neuron: Any) -> None:
    """`layer` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        layer((bounds[share], bounds[share + 1]), sizes, arrays, neuron)
