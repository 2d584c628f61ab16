"""Who adds up what arrives at a layer: a kernel, input by input that spikes, or BLAS, all of them.

Both are exact. BLAS takes float32 where no sum can leave its whole numbers, else float64. Which is
faster is a matter of how many inputs spike: that is counted for every call, and `choice` knows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from services.cpu_worker.simd import compiled
from services.cpu_worker.sparse import shares
from services.cpu_worker.spiking import choice, encoding, events, registers
from services.cpu_worker.spiking.choice import Choice
from services.cpu_worker.spiking.encoding import WORD
from shared.spiking import layers, rates
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, I32, U32

CHOICE = Choice()  # of this process
EXACT = 2**24  # whole numbers below are exact in float32
ROOM = 2**21  # numbers of unpacked spikes at a time, 8 or 16 MiB
I16 = npt.NDArray[np.int16]
NO_WORDS: U32 = np.zeros(0, np.uint32)
NO_NUMBERS: F32 = np.zeros(0, np.float32)
NO_PHASES: I32 = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Synapses:
    """Weights as whole numbers."""

    codes: I32  # (k, m)
    wide: I16 | I32  # (k * m rounded up to words,), zero beyond m; 16 bits where all codes fit
    narrow: bool  # whether every sum of them is exact in float32

    @classmethod
    def of(cls, weight: F32, fraction: int) -> "Synapses":
        """Of a weight (m, k)."""
        made = np.ascontiguousarray(layers.codes(weight, fraction).T)
        most = np.abs(made.astype(np.float64)).sum(axis=0).max(initial=0.0)
        return cls(made, _short(_widened(made)).reshape(-1), bool(most < EXACT))


def bias_of(bias: F32, fraction: int) -> I32:
    """A bias (m,) as whole numbers (m rounded up to words,), zero beyond m."""
    made: I32 = _widened(layers.codes(bias, fraction)[np.newaxis]).reshape(-1)
    return made


@lru_cache(maxsize=64)
def no_bias(neurons: int) -> I32:
    """Zeros (neurons rounded up to words,) that every call may share: kernels only read them."""
    return np.zeros(-(-neurons // WORD) * WORD, np.int32)


def _widened(array: I32) -> I32:
    """Rows (n, m) with zeros up to whole words."""
    n, m = array.shape
    made: I32 = np.zeros((n, -(-m // WORD) * WORD), np.int32)
    made[:, :m] = array
    return made


def _short(codes: I32) -> I16 | I32:
    """The same numbers in 16 bits where they fit: half as much memory is read."""
    short = codes.astype(np.int16)
    return short if np.array_equal(short, codes) else codes


class Run(NamedTuple):
    """One call: what is read, and what is written. Every array is one line."""

    layer: Layer
    shape: tuple[int, int, int, int]  # rows, steps, inputs, outputs: n, steps, k, m
    words: U32 = NO_WORDS  # (n * steps * words,) the spikes that arrive, or
    x: F32 = NO_NUMBERS  # (n * k,) numbers that become evenly spaced ones
    v: F32 = NO_NUMBERS  # (n * m,) first potentials, then the last; none: from the leak to nowhere
    i: F32 = NO_NUMBERS  # (n * m,) currents in the same way, from none
    fired: U32 = NO_WORDS  # (n * steps * words,) spikes, written; none: nobody asks
    rate: F32 = NO_NUMBERS  # (n * m,) shares of steps with a spike, written; none: nobody asks


def advance(run: Run, synapses: Synapses, bias: I32, threads: int) -> None:
    """All steps of all rows.

    Args:
        bias: (m rounded up to words,) int32.
        threads: that share the rows.
    """
    share = _arriving(run)
    if share < choice.DOUBT:
        by_events(run, synapses, bias, threads)
        return
    kind = choice.kind(run.shape, share, narrow=synapses.narrow, threads=threads)
    product = CHOICE.product(kind)
    if product is None:
        again = _again(run)
        few = _seconds(lambda: by_events(run, synapses, bias, threads))
        every = _seconds(lambda: by_blas(again, synapses, bias, threads))
        CHOICE.tell(kind, events=few, product=every)
    elif product:
        by_blas(run, synapses, bias, threads)
    else:
        by_events(run, synapses, bias, threads)


def _again(run: Run) -> Run:
    """The same call, with places of its own for what it writes."""
    own = {name: getattr(run, name).copy() for name in ("v", "i", "fired", "rate")}
    return run._replace(**own)


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _arriving(run: Run) -> float:
    """The share of inputs that spike."""
    n, steps, k, _ = run.shape
    if run.x.size:
        return float(encoding.summed(run.x)) / run.x.size
    return int(events.set_bits(run.words)) / max(n * steps * k, 1)


def by_events(run: Run, synapses: Synapses, bias: I32, threads: int) -> None:
    """Work proportional to the inputs that spike."""
    n, *sizes = run.shape
    given = (run.words, run.x, phases(sizes[1]) if run.x.size else NO_PHASES)
    results = (run.v, run.i, run.fired, run.rate)
    bounds, pair = shares.even(n, min(threads, n)), (registers.layer, registers.layer_shared)
    rest = (tuple(sizes), given, (synapses.wide, bias), results, _neuron_of(run.layer))
    compiled.run(*pair, bounds, *rest)


def by_blas(run: Run, synapses: Synapses, bias: I32, threads: int) -> None:
    """Spikes as numbers, one product, the membranes; and what comes before and after them."""
    n, steps, k, m = run.shape
    words = encoded(run.x, (n, steps, k), threads) if run.x.size else run.words
    fired = run.fired if run.fired.size else np.empty(n * steps * -(-m // WORD), np.uint32)
    v = run.v if run.v.size else np.full(n * m, run.layer.leak, np.float32)
    i = run.i if run.i.size else np.zeros(n * m, np.float32)
    full = run._replace(x=NO_NUMBERS, words=words, v=v, i=i, fired=fired)
    _multiplied(full, synapses, bias[:m], threads)
    if run.rate.size:
        counted(fired, steps, m, run.rate)


def _multiplied(run: Run, synapses: Synapses, bias: I32, threads: int) -> None:
    """Some rows at a time: bits to numbers, one product, then the membranes."""
    n, steps, k, m = run.shape
    dtype: Any = np.float32 if synapses.narrow else np.float64
    codes = synapses.codes.astype(dtype)
    chunk = max(ROOM // max(steps * k, 1), 1)
    pair = (events.membranes, events.membranes_shared)
    words, fired = run.words.reshape(n, -1), run.fired.reshape(n, -1)
    v, i = run.v.reshape(n, m), run.i.reshape(n, m)
    for first in range(0, n, chunk):
        rows = slice(first, min(first + chunk, n))
        count = rows.stop - first
        x = np.empty((count * steps, k), dtype)
        events.numbers(words[rows].reshape(-1), k, x.reshape(-1))
        totals: I32 = (x @ codes).astype(np.int64).astype(np.int32) + bias
        flat = tuple(array.reshape(-1) for array in (totals, v[rows], i[rows], fired[rows]))
        bounds = shares.even(count, min(threads, count))
        compiled.run(*pair, bounds, (steps, m), flat, _neuron_of(run.layer))


def encoded(x: F32, shape: tuple[int, int, int], threads: int) -> U32:
    """Numbers as evenly spaced spikes, (n * steps * words,).

    Args:
        x: (n * k,).
        shape: rows, steps and neurons: n, steps, k.
    """
    n, steps, k = shape
    words: U32 = np.empty(n * steps * -(-k // WORD), np.uint32)
    bounds, pair = shares.even(n, min(threads, n)), (encoding.evenly, encoding.evenly_shared)
    compiled.run(*pair, bounds, x, steps, k, phases(k), words)
    return words


def counted(words: U32, steps: int, neurons: int, rate: F32) -> None:
    """The share of steps in which each neuron spiked; see `events.counted`."""
    events.counted(words, steps, neurons, np.float32(1.0) / np.float32(steps), rate)


@lru_cache(maxsize=64)
def phases(neurons: int) -> I32:
    """Where each neuron begins, with zeros up to whole words."""
    return _widened(rates.phases(neurons).astype(np.int32)[np.newaxis]).reshape(-1)


@lru_cache(maxsize=64)
def _neuron_of(layer: Layer) -> tuple[Any, ...]:
    """A layer as the kernels take it; see `registers.layer`."""
    levels = (2.0**-layer.fraction, layer.decay, layer.leak, layer.threshold, layer.reset)
    filters = (layer.synapse or 0.0, layer.couple, layer.direct)
    filtered = layer.synapse is not None
    return (*map(np.float32, levels), layer.subtract, filtered, *map(np.float32, filters))
