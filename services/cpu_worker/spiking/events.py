"""Spikes as words of 32 bits: listed, counted, added up, and made by membranes.

Flags of a byte per neuron become bits eight at a time, by one product. `registers` holds layers
whose work is proportional to spikes; where most inputs spike BLAS is faster, and `membranes` takes
what it makes. See `spiking.layers` for the rules.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.bits import lowest, ones
from services.cpu_worker.simd.compiled import kernel, prange, shared

EIGHT = np.uint64(0x0102040810204080)  # moves the lowest bit of byte i to place 56 + i


@kernel
def listed(words: Any, first: int, count: int, found: Any) -> int:
    """The numbers of the bits that are set in `count` words, and how many there are.

    Two words are taken at a time, and two bits of them without asking whether there is a second.

    Args:
        found: room for 32 numbers per word.
    """
    size = 0
    for word in range(0, count, 2):
        left = np.uint64(words[first + word])
        if word + 1 < count:
            left |= np.uint64(words[first + word + 1]) << np.uint64(32)
        place, size = size, size + ones(left)
        while place < size:
            found[place] = 32 * word + lowest(left)
            left &= left - np.uint64(1)
            found[place + 1] = 32 * word + lowest(left)
            left &= left - np.uint64(1)
            place += 2
    return size


@kernel
def set_bits(words: Any) -> int:
    """How many bits of all words are set."""
    total = 0
    for word in words:
        total += ones(np.uint64(word))
    return total


@kernel
def added(codes: Any, active: Any, size: int, total: Any) -> None:
    """Columns of codes added to the sums."""
    m, at = total.size, 0
    while size - at >= 4:
        a, b = active[at] * m, active[at + 1] * m
        c, d = active[at + 2] * m, active[at + 3] * m
        one, two = codes[a : a + m], codes[b : b + m]
        three, four = codes[c : c + m], codes[d : d + m]
        for j in range(m):
            total[j] += (one[j] + two[j]) + (three[j] + four[j])
        at += 4
    while at < size:
        one = codes[active[at] * m : active[at] * m + m]
        for j in range(m):
            total[j] += one[j]
        at += 1


@kernel
def packed(flags: Any, words: Any, first: int, count: int) -> None:
    """Bits of flags, eight to a byte of `flags`, as words."""
    for word in range(count):
        made = np.uint64(0)
        for part in range(4):
            eight = (flags[4 * word + part] * EIGHT) >> np.uint64(56)
            made |= eight << np.uint64(8 * part)
        words[first + word] = np.uint32(made)


@kernel
def _stepped(total: Any, potential: Any, current: Any, neuron: Any, flags: Any) -> None:
    """One step of all membranes of a row: what arrived becomes potentials and flags of spikes."""
    unit, decay, leak, threshold, reset, subtract, filtered, synapse, couple, direct = neuron
    for j in range(total.size):
        driven = np.float32(total[j]) * unit
        if filtered:
            arrived = driven
            driven = couple * current[j] + direct * arrived
            current[j] = synapse * current[j] + arrived
        u = (leak + decay * (potential[j] - leak)) + driven
        spike = u > threshold
        flags[j] = spike
        potential[j] = ((u - threshold) if subtract else reset) if spike else u


@kernel
def membranes(span: Any, sizes: Any, arrays: Any, neuron: Any) -> None:
    """All steps of some rows, from what arrives; see `registers.layer`.

    Args:
        sizes: (steps, outputs).
        arrays: (totals, v, i, fired), totals (n * steps * m,) int32.
    """
    steps, m = sizes
    totals, v, i, fired = arrays
    made = (m + 31) // 32
    eights = np.zeros(4 * made, np.uint64)
    flags = eights.view(np.uint8)
    for row in range(span[0], span[1]):
        potential, current = v[row * m : row * m + m], i[row * m : row * m + m]
        for step in range(steps):
            at = (row * steps + step) * m
            _stepped(totals[at : at + m], potential, current, neuron, flags)
            packed(eights, fired, (row * steps + step) * made, made)


@shared
def membranes_shared(bounds: Any, sizes: Any, arrays: Any, neuron: Any) -> None:
    """`membranes` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        membranes((bounds[share], bounds[share + 1]), sizes, arrays, neuron)


@kernel
def numbers(words: Any, k: int, x: Any) -> None:
    """Bits as numbers 0 and 1.

    Args:
        words: (count * ceil(k / 32),) uint32.
        x: (count * k,) float32 or float64, written.
    """
    width = (k + 31) // 32
    for line in range(x.size // max(k, 1)):
        for word in range(width):
            held, first = words[line * width + word], line * k + 32 * word
            made = x[first : first + min(32, k - 32 * word)]
            for bit in range(made.size):
                made[bit] = (held >> np.uint32(bit)) & np.uint32(1)


@kernel
def counted(words: Any, steps: int, k: int, share: Any, y: Any) -> None:
    """The share of steps in which each neuron spiked.

    Args:
        words: (n * steps * ceil(k / 32),) uint32.
        share: 1 / steps, float32.
        y: (n * k,) float32, written.
    """
    width = (k + 31) // 32
    active, count = np.empty(32 * width, np.int64), np.empty(max(k, 1), np.int64)
    for row in range(y.size // max(k, 1)):
        count[:] = 0
        for step in range(steps):
            for at in range(listed(words, (row * steps + step) * width, width, active)):
                count[active[at]] += 1
        for i in range(k):
            y[row * k + i] = np.float32(count[i]) * share
