"""Populations that read themselves, by kernels whose work is proportional to spikes.

What is on its way to the neurons lies in a ring of as many sums per neuron as there are lags; a
spike adds the codes of its synapses to where and when they arrive. See `shared.spiking.recurrent`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.cpu_worker.simd import compiled
from services.cpu_worker.simd.arithmetic import add, mul, splat
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import load_words, numbers
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, prefetch, store
from services.cpu_worker.simd.spikes import above, chosen, plus
from services.cpu_worker.sparse import shares
from services.cpu_worker.spiking.events import added, listed
from shared.spiking import layers
from shared.tensors.dtypes import F32, I32, U32, Array
from shared.tensors.layouts import Tensor

I64 = npt.NDArray[np.int64]
WORD = Lanes(32)
LINE = 64  # bytes of a line of cache
MINUS, NOTHING = np.float32(-1), np.float32(0)


@dataclass(frozen=True, slots=True, eq=False)
class Wires:
    """Synapses between neurons, in bundles of one neuron and one lag.

    Those of bundle b are `starts[b]` to `starts[b + 1]`, neuron j has the bundles `firsts[j]` to
    `firsts[j + 1]`. A pair is a target in its lower half and a code in its upper: of 16 bits each
    where they fit, else of 32.
    """

    firsts: I32  # (m + 1,)
    lags: I32  # (bundles,)
    starts: I64  # (bundles + 1,)
    pairs: Array  # (synapses,) int32 or int64

    @classmethod
    def of(cls, recurrent: Tensor, fraction: int) -> "Wires":
        """Of CSR (lags m, m) float32."""
        rows, m = recurrent.shape
        indptr, targets, values = (recurrent.parts[p] for p in ("indptr", "indices", "values"))
        begins = indptr.astype(np.int64)
        neurons, lags = np.nonzero(np.diff(begins).reshape(rows // m, m).T)
        own = lags * m + neurons
        sizes = begins[own + 1] - begins[own]
        ends = np.cumsum(sizes)
        order = np.repeat(begins[own] - ends + sizes, sizes) + np.arange(sizes.sum())
        codes = layers.codes(values.view(np.float32), fraction)[order]
        return cls(
            np.searchsorted(neurons, np.arange(m + 1)).astype(np.int32),
            lags.astype(np.int32),
            np.append(0, ends).astype(np.int64),
            _pairs(targets[order], codes, m),
        )


def _pairs(targets: Array, codes: I32, neurons: int) -> Array:
    """Targets and codes as one number each."""
    narrow = neurons <= 2**16 and bool((np.abs(codes.astype(np.int64)) < 2**15).all())
    kind, half = (np.int32, 16) if narrow else (np.int64, 32)
    made: Array = np.left_shift(codes.astype(kind), half) | targets.astype(kind)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One call: what is read, and what is written."""

    words: U32  # (n, steps, words) of the inputs
    codes: I32  # (k, m) of their synapses
    bias: I32  # (m,)
    neurons: F32  # (7, m)
    v: F32  # (n m,) first potentials, then the last
    i: F32  # (n m,) currents in the same way
    past: U32  # (n, lags - 1, words)
    fired: U32  # (n, steps, words), written


def advance(
    run: Run, wires: Wires, ends: tuple[int, ...], unit: np.float32, subtract: bool, threads: int
) -> None:
    """All steps of all rows.

    Args:
        ends: neurons where stages end.
        unit: potential per unit of a code.
        threads: that share the rows.
    """
    n, steps, width = run.words.shape
    sizes = (steps, width, run.bias.size, run.past.shape[1] + 1)
    flat = (run.words, run.codes, run.bias, run.v, run.i, run.past, run.fired)
    arrays = tuple(array.reshape(-1) for array in flat)
    synapses = (wires.firsts, wires.lags, wires.starts, wires.pairs)
    neurons = (np.ascontiguousarray(run.neurons), unit, subtract)
    bounds = shares.even(n, min(threads, n))
    stages = np.array(ends, np.int64)
    compiled.run(population, population_shared, bounds, sizes, arrays, synapses, neurons, stages)


@kernel
def _one(j: int, total: Any, coming: Any, state: Any, neurons: Any) -> bool:
    """One step of a neuron: what arrived becomes a potential; whether it spikes."""
    potential, current = state
    constants, unit, subtract = neurons
    decay, leak, threshold, reset = constants[0], constants[1], constants[2], constants[3]
    synapse, couple, direct = constants[4], constants[5], constants[6]
    arrived = np.float32(np.int32(total[j] + coming[j])) * unit
    driven = couple[j] * current[j] + direct[j] * arrived
    current[j] = synapse[j] * current[j] + arrived
    u = (leak[j] + decay[j] * (potential[j] - leak[j])) + driven
    spike = u > threshold[j]
    potential[j] = ((u - threshold[j]) if subtract else reset[j]) if spike else u
    return bool(spike)


@kernel
def _word(j: int, total: Any, coming: Any, state: Any, neurons: Any) -> Any:
    """`_one` of 32 neurons from j on, a bit for each that spikes. What is above a threshold is what
    differs from it by more than 0."""
    potential, current = state
    constants, unit, subtract = neurons
    summed = plus(load_words(WORD, total, j), load_words(WORD, coming, j))
    arrived = mul(numbers(summed), splat(WORD, unit))
    before, leak = load(WORD, current, j), load(WORD, constants[1], j)
    passed = mul(load(WORD, constants[5], j), before)
    driven = add(passed, mul(load(WORD, constants[6], j), arrived))
    store(current, j, add(mul(load(WORD, constants[4], j), before), arrived))
    apart = add(load(WORD, potential, j), mul(leak, splat(WORD, MINUS)))
    u = add(add(leak, mul(load(WORD, constants[0], j), apart)), driven)
    margin = add(u, mul(load(WORD, constants[2], j), splat(WORD, MINUS)))
    after = load(WORD, constants[3], j)
    if subtract:
        after = margin
    store(potential, j, chosen(margin, NOTHING, after, u))
    return above(margin, NOTHING)


@kernel
def _advanced(span: Any, total: Any, coming: Any, state: Any, neurons: Any, spikes: Any) -> None:
    """One step of a stage; bits of spikes are set in words from a given one on."""
    (j, end), (fired, begin) = span, spikes
    while j < end:
        if j % 32 == 0 and j + 32 <= end:
            fired[begin + j // 32] = _word(j, total, coming, state, neurons)
            j += 32
        else:
            if _one(j, total, coming, state, neurons):
                fired[begin + j // 32] |= np.uint32(1) << np.uint32(j % 32)
            j += 1


@kernel
def _brought(neuron: int, synapses: Any) -> None:
    """Have the synapses of a neuron brought from memory before its spike is sent."""
    firsts, _, starts, pairs = synapses
    at, end = starts[firsts[neuron]], starts[firsts[neuron + 1]]
    while at < end:
        prefetch(pairs, at)
        at += LINE // pairs.itemsize


@kernel
def _sent(neuron: int, step: int, first: int, ring: Any, synapses: Any) -> None:
    """Add what a spike sends to the sums of the steps in which it arrives, `first` steps later at
    the earliest."""
    firsts, lags, starts, pairs = synapses
    half = 4 * pairs.itemsize  # bits of a number of a pair
    place = (1 << half) - 1
    for bundle in range(firsts[neuron], firsts[neuron + 1]):
        if lags[bundle] >= first:
            coming = ring[(step + lags[bundle]) % len(ring)]
            for at in range(starts[bundle], starts[bundle + 1]):
                coming[np.uintp(pairs[at] & place)] += pairs[at] >> half


@kernel
def _remembered(past: Any, first: int, ring: Any, active: Any, synapses: Any) -> None:
    """What the spikes of earlier calls still send."""
    lags, m = ring.shape
    made = (m + 31) // 32
    ring[:] = 0
    for ago in range(1, lags):
        size = listed(past, first + (lags - 1 - ago) * made, made, active)
        for at in range(size):
            _sent(active[at], -ago, ago, ring, synapses)


@kernel
def population(
    span: Any, sizes: Any, arrays: Any, synapses: Any, neurons: Any, stages: Any
) -> None:
    """All steps of some rows.

    Args:
        span: first row, and the row after the last one.
        sizes: (steps, words of a step's inputs, neurons m, lags).
        arrays: (words, codes, bias, v, i, past, fired), flat; see `Run`; fired is zero.
        synapses: (firsts, lags, starts, pairs), see `Wires`.
        neurons: (constants (7, m) float32, potential per unit of a code, whether resets subtract).
        stages: (stages,) int64, neurons where they end.
    """
    steps, width, m, lags = sizes
    words, codes, bias, v, i, past, fired = arrays
    made = (m + 31) // 32
    active, fires = np.empty(32 * width, np.int64), np.empty(32 * made, np.int64)
    total, ring = np.empty(m, np.int32), np.empty((lags, m), np.int32)
    for row in range(span[0], span[1]):
        state = (v[row * m : row * m + m], i[row * m : row * m + m])
        _remembered(past, row * (lags - 1) * made, ring, fires, synapses)
        for step in range(steps):
            total[:] = bias
            size = listed(words, (row * steps + step) * width, width, active)
            added(codes, active, size, total)
            coming, begin, first = ring[step % lags], (row * steps + step) * made, 0
            for end in stages:
                _advanced((first, end), total, coming, state, neurons, (fired, begin))
                word = first // 32
                count = (end + 31) // 32 - word
                size = listed(fired, begin + word, count, fires)
                for at in range(size):
                    neuron = fires[at] + 32 * word
                    if at + 1 < size:
                        _brought(fires[at + 1] + 32 * word, synapses)
                    if first <= neuron < end:
                        _sent(neuron, step, 0, ring, synapses)
                first = end
            coming[:] = 0


@shared
def population_shared(
    bounds: Any, sizes: Any, arrays: Any, synapses: Any, neurons: Any, stages: Any
) -> None:
    """`population` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        span = (bounds[share], bounds[share + 1])
        population(span, sizes, arrays, synapses, neurons, stages)
