"""Who adds up what arrives at a layer: a kernel, input by input that spikes, or BLAS, all of them.

Both are exact. BLAS takes float32 where no sum can leave its whole numbers, else float64. Which is
faster is a matter of how many inputs spike: that is counted for every call.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from services.cpu_worker.simd import compiled
from services.cpu_worker.sparse import shares
from services.cpu_worker.spiking import events, registers
from services.cpu_worker.spiking.registers import WORD
from shared.spiking import layers
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, I32, U32

# Share of inputs that spike from which BLAS wins, where it takes float32, and float64; measured
# with 784 inputs and 128 neurons on a processor with AVX-512.
FLOAT32_FROM, FLOAT64_FROM = 0.3, 0.65
EXACT = 2**24  # whole numbers below are exact in float32
ROOM = 2**21  # numbers of unpacked spikes at a time, 8 or 16 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Synapses:
    """Weights as whole numbers."""

    codes: I32  # (k, m)
    wide: I32  # (k, m rounded up to words), zero beyond m
    narrow: bool  # whether every sum of them is exact in float32

    @classmethod
    def of(cls, weight: F32, fraction: int) -> "Synapses":
        """Of a weight (m, k), or of a vector (m,) as one row."""
        made = np.ascontiguousarray(np.atleast_2d(layers.codes(weight, fraction).T))
        wide: I32 = _widened(made, -(-made.shape[1] // WORD) * WORD)
        most = np.abs(made.astype(np.float64)).sum(axis=0).max(initial=0.0)
        return cls(made, wide, bool(most < EXACT))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One call: what is read, and what is written."""

    layer: Layer
    words: U32  # (n, steps, words)
    v: F32  # (n, m) first potentials, then the last
    i: F32  # (n, m) currents in the same way
    fired: U32  # (n, steps, words), written


def advance(run: Run, synapses: Synapses, bias: I32, inputs: int, threads: int) -> None:
    """All steps of all rows.

    Args:
        bias: (m,) int32.
        inputs: k, of a step.
        threads: that share the rows.
    """
    n, steps, _ = run.words.shape
    share = events.set_bits(run.words.reshape(-1)) / max(n * steps * inputs, 1)
    if share < (FLOAT32_FROM if synapses.narrow else FLOAT64_FROM):
        by_events(run, synapses, bias, threads)
    else:
        by_blas(run, synapses, bias, inputs, threads)


def by_events(run: Run, synapses: Synapses, bias: I32, threads: int) -> None:
    """Work proportional to the inputs that spike."""
    n, steps, width = run.words.shape
    bounds = shares.even(n, min(threads, n))
    if run.layer.synapse is None:
        _in_registers(run, synapses, bias, bounds)
        return
    flat = (run.words, synapses.codes, bias, run.v, run.i, run.fired)
    arrays = tuple(array.reshape(-1) for array in flat)
    pair = (events.layer, events.layer_shared)
    sizes = (steps, width, bias.size)
    compiled.run(*pair, bounds, sizes, arrays, _unit(run.layer), neuron_of(run.layer))


def _in_registers(run: Run, synapses: Synapses, bias: I32, bounds: Any) -> None:
    """Neurons whose synapses do not filter, rounded up to words."""
    (_, steps, width), wide = run.words.shape, synapses.wide.shape[1]
    held, v = _widened(bias[np.newaxis], wide), _widened(run.v, wide)
    flat = (run.words, synapses.wide, held, v, run.fired)
    arrays = tuple(array.reshape(-1) for array in flat)
    pair = (registers.layer, registers.layer_shared)
    compiled.run(*pair, bounds, (steps, width, wide), arrays, _membrane_of(run.layer))
    if v is not run.v:
        run.v[:] = v[:, : bias.size]
        run.fired[:, :, -1] &= np.uint32((1 << bias.size % WORD) - 1)


def _widened(array: Any, wide: int) -> Any:
    """Rows (n, m) with zeros up to a width; the array itself where it has that."""
    n, m = array.shape
    if m == wide:
        return array
    made = np.zeros((n, wide), array.dtype)
    made[:, :m] = array
    return made


def by_blas(run: Run, synapses: Synapses, bias: I32, inputs: int, threads: int) -> None:
    """Some rows at a time: bits to numbers, one product, then the membranes."""
    (n, steps, _), m = run.words.shape, bias.size
    dtype: Any = np.float32 if synapses.narrow else np.float64
    codes = synapses.codes.astype(dtype)
    chunk = max(ROOM // max(steps * inputs, 1), 1)
    pair = (events.membranes, events.membranes_shared)
    for first in range(0, n, chunk):
        rows = slice(first, min(first + chunk, n))
        words = run.words[rows]
        x = np.empty((len(words) * steps, inputs), dtype)
        events.numbers(words.reshape(-1), inputs, x.reshape(-1))
        totals: I32 = (x @ codes).astype(np.int64).astype(np.int32) + bias
        flat = (totals, run.v[rows], run.i[rows], run.fired[rows])
        arrays = tuple(array.reshape(-1) for array in flat)
        bounds = shares.even(len(words), min(threads, len(words)))
        compiled.run(*pair, bounds, (steps, m), arrays, _unit(run.layer), neuron_of(run.layer))


@lru_cache(maxsize=64)
def neuron_of(layer: Layer) -> tuple[Any, ...]:
    """A layer as the kernels take it."""
    levels = (layer.decay, layer.leak, layer.threshold, layer.reset)
    filters = (layer.synapse or 0.0, layer.couple, layer.direct)
    filtered = layer.synapse is not None
    return (*map(np.float32, levels), layer.subtract, filtered, *map(np.float32, filters))


@lru_cache(maxsize=64)
def _membrane_of(layer: Layer) -> tuple[Any, ...]:
    """A layer whose synapses do not filter, as `registers.layer` takes it."""
    return (_unit(layer), *neuron_of(layer)[:5])


def _unit(layer: Layer) -> np.float32:
    return np.float32(2.0**-layer.fraction)
