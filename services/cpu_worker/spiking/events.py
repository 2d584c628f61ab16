"""Layers of neurons by compiled kernels whose work is proportional to spikes; see `spiking.layers`.

Spikes are words of 32 bits. A step first lists the inputs that spike, then adds their columns of
codes, four at a time. Flags of a byte per neuron become bits eight at a time, by one product. Where
most inputs spike BLAS is faster; `membranes` takes what it makes.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.compiled import kernel, prange, shared

# The place of a single bit: it times this number has that bit's entry of the table on top.
SEQUENCE = np.uint32(0x077CB531)
TABLE = np.zeros(32, dtype=np.int64)
TABLE[[(0x077CB531 << place & 0xFFFFFFFF) >> 27 for place in range(32)]] = np.arange(32)
EIGHT = np.uint64(0x0102040810204080)  # moves the lowest bit of byte i to place 56 + i
WHOLE = np.uint32(1 << 24)
MASK = np.uint32((1 << 24) - 1)


@kernel
def listed(words: Any, first: int, count: int, found: Any) -> int:
    """The numbers of the bits that are set in `count` words, and how many there are."""
    size = 0
    for word in range(count):
        left = words[first + word]
        while left != 0:
            low = left & (~left + np.uint32(1))
            found[size] = 32 * word + TABLE[np.uint32(low * SEQUENCE) >> np.uint32(27)]
            size += 1
            left ^= low
    return size


@kernel
def set_bits(words: Any) -> int:
    """How many bits of all words are set."""
    total = 0
    for word in words:
        held = word - ((word >> np.uint32(1)) & np.uint32(0x55555555))
        held = (held & np.uint32(0x33333333)) + ((held >> np.uint32(2)) & np.uint32(0x33333333))
        held = (held + (held >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
        total += int(np.uint32(held * np.uint32(0x01010101)) >> np.uint32(24))
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
def _stepped(total: Any, unit: Any, potential: Any, current: Any, neuron: Any, flags: Any) -> None:
    """One step of all membranes of a row: what arrived becomes potentials and flags of spikes."""
    decay, leak, threshold, reset, subtract, filtered, synapse, couple, direct = neuron
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
def layer(span: Any, sizes: Any, arrays: Any, unit: Any, neuron: Any) -> None:
    """All steps of some rows, from the inputs that spike.

    Args:
        span: first row, and the row after the last one.
        sizes: (steps, words of a step's inputs, outputs).
        arrays: (words, codes, bias, v, i, fired): (n * steps * words,) uint32; (k * m,) and (m,)
            int32; (n * m,) float32, first potentials and then the last, and currents, as many
            where synapses filter; spikes as words, written.
        unit: potential per unit of a code, float32.
        neuron: (decay, leak, threshold, reset) float32, whether resets subtract, whether synapses
            filter, and (synapse, couple, direct) float32.
    """
    steps, width, m = sizes
    words, codes, bias, v, i, fired = arrays
    made = (m + 31) // 32
    active, total = np.empty(32 * width, np.int64), np.empty(m, np.int32)
    eights = np.zeros(4 * made, np.uint64)
    flags = eights.view(np.uint8)
    for row in range(span[0], span[1]):
        potential, current = v[row * m : row * m + m], i[row * m : row * m + m]
        for step in range(steps):
            total[:] = bias
            size = listed(words, (row * steps + step) * width, width, active)
            added(codes, active, size, total)
            _stepped(total, unit, potential, current, neuron, flags)
            packed(eights, fired, (row * steps + step) * made, made)


@shared
def layer_shared(bounds: Any, sizes: Any, arrays: Any, unit: Any, neuron: Any) -> None:
    """`layer` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        layer((bounds[share], bounds[share + 1]), sizes, arrays, unit, neuron)


@kernel
def membranes(span: Any, sizes: Any, arrays: Any, unit: Any, neuron: Any) -> None:
    """All steps of some rows, from what arrives; see `layer`.

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
            _stepped(totals[at : at + m], unit, potential, current, neuron, flags)
            packed(eights, fired, (row * steps + step) * made, made)


@shared
def membranes_shared(bounds: Any, sizes: Any, arrays: Any, unit: Any, neuron: Any) -> None:
    """`membranes` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        membranes((bounds[share], bounds[share + 1]), sizes, arrays, unit, neuron)


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
def evenly(span: Any, x: Any, steps: int, k: int, phase: Any, words: Any) -> None:
    """Numbers of some rows to evenly spaced spikes; see `spiking.rates`.

    Args:
        span: first row, and the row after the last one.
        x: (n * k,) float32.
        phase: (k,) uint32, below 2**24.
        words: (n * steps * ceil(k / 32),) uint32, written.
    """
    made = (k + 31) // 32
    share, reached = np.empty(k, np.uint32), np.empty(k, np.uint32)
    eights = np.zeros(4 * made, np.uint64)
    flags = eights.view(np.uint8)
    for row in range(span[0], span[1]):
        held = x[row * k : row * k + k]
        for i in range(k):
            known = min(max(held[i], np.float32(0)), np.float32(1)) if held[i] == held[i] else 0.0
            share[i] = np.uint32(np.rint(np.float32(known) * np.float32(16777216.0)))
            reached[i] = phase[i]
        for step in range(steps):
            for i in range(k):
                reached[i] = (reached[i] + share[i]) & MASK
                flags[i] = reached[i] < share[i]
            packed(eights, words, (row * steps + step) * made, made)


@shared
def evenly_shared(bounds: Any, x: Any, steps: int, k: int, phase: Any, words: Any) -> None:
    """`evenly` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        evenly((bounds[share], bounds[share + 1]), x, steps, k, phase, words)


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
