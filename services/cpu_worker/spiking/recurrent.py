"""Populations that read themselves, by kernels whose work is proportional to spikes.

What is on its way to the neurons lies in a ring of as many sums per neuron as there are lags; a
spike adds the codes of its synapses to where and when they arrive. See `shared.spiking.recurrent`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.cpu_worker.simd import compiled
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.sparse import shares
from services.cpu_worker.spiking.events import added, listed, packed
from shared.spiking import layers
from shared.tensors.dtypes import F32, I32, U32
from shared.tensors.layouts import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Wires:
    """Synapses between neurons: those of row r are `starts[r]` to `starts[r + 1]`."""

    starts: npt.NDArray[np.int64]  # (lags m + 1,)
    targets: I32
    codes: I32

    @classmethod
    def of(cls, recurrent: Tensor, fraction: int) -> "Wires":
        """Of CSR (lags m, m) float32."""
        starts, targets, values = (recurrent.parts[p] for p in ("indptr", "indices", "values"))
        codes = layers.codes(values.view(np.float32), fraction)
        return cls(starts.astype(np.int64), targets.astype(np.int32), codes)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One call: what is read, and what is written."""

    words: U32  # (n, steps, words) of the inputs
    codes: I32  # (k, m) of their synapses
    bias: I32  # (m,)
    neurons: F32  # (7, m)
    v: F32  # (n, m) first potentials, then the last
    i: F32  # (n, m) currents in the same way
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
    synapses = (wires.starts, wires.targets, wires.codes)
    neurons = (np.ascontiguousarray(run.neurons), unit, subtract)
    bounds = shares.even(n, min(threads, n))
    stages = np.array(ends, np.int64)
    compiled.run(population, population_shared, bounds, sizes, arrays, synapses, neurons, stages)


@kernel
def _advanced(span: Any, total: Any, coming: Any, state: Any, neurons: Any, flags: Any) -> None:
    """One step of a stage: what arrived becomes potentials and flags of spikes."""
    potential, current = state
    constants, unit, subtract = neurons
    decay, leak, threshold, reset = constants[0], constants[1], constants[2], constants[3]
    synapse, couple, direct = constants[4], constants[5], constants[6]
    for j in range(span[0], span[1]):
        arrived = np.float32(np.int32(total[j] + coming[j])) * unit
        driven = couple[j] * current[j] + direct[j] * arrived
        current[j] = synapse[j] * current[j] + arrived
        u = (leak[j] + decay[j] * (potential[j] - leak[j])) + driven
        spike = u > threshold[j]
        flags[j] = spike
        potential[j] = ((u - threshold[j]) if subtract else reset[j]) if spike else u


@kernel
def _sent(neuron: int, step: int, first: int, ring: Any, synapses: Any) -> None:
    """Add what a spike sends to the sums of the steps in which it arrives, `first` steps later at
    the earliest."""
    starts, targets, codes = synapses
    lags, m = ring.shape
    for lag in range(first, lags):
        row, coming = lag * m + neuron, ring[(step + lag) % lags]
        for at in range(starts[row], starts[row + 1]):
            coming[targets[at]] += codes[at]


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
        arrays: (words, codes, bias, v, i, past, fired), flat; see `Run`.
        synapses: (starts, targets, codes), see `Wires`.
        neurons: (constants (7, m) float32, potential per unit of a code, whether resets subtract).
        stages: (stages,) int64, neurons where they end.
    """
    steps, width, m, lags = sizes
    words, codes, bias, v, i, past, fired = arrays
    made = (m + 31) // 32
    active, fires = np.empty(32 * width, np.int64), np.empty(32 * made, np.int64)
    total, ring = np.empty(m, np.int32), np.empty((lags, m), np.int32)
    eights = np.zeros(4 * made, np.uint64)
    flags = eights.view(np.uint8)
    for row in range(span[0], span[1]):
        state = (v[row * m : row * m + m], i[row * m : row * m + m])
        _remembered(past, row * (lags - 1) * made, ring, fires, synapses)
        for step in range(steps):
            total[:] = bias
            size = listed(words, (row * steps + step) * width, width, active)
            added(codes, active, size, total)
            eights[:] = 0
            coming, begin, first = ring[step % lags], (row * steps + step) * made, 0
            for end in stages:
                _advanced((first, end), total, coming, state, neurons, flags)
                word = first // 32
                count = (end + 31) // 32 - word
                packed(eights[4 * word :], fired, begin + word, count)
                for at in range(listed(fired, begin + word, count, fires)):
                    neuron = fires[at] + 32 * word
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
