"""Neurons that read each other: many steps of a population, each neuron with its own constants.

    S_t = sum of the codes of the synapses whose input spikes in step t, + the code of the bias,
          + sum over lags d of the codes of the synapses from neurons that spiked in step t - d
    u_t = (leak + decay (v_(t-1) - leak)) + (couple i_(t-1) + direct S_t / 2**fraction)
    i_t = synapse i_(t-1) + S_t / 2**fraction

Sums are whole numbers modulo 2**32, all else is single operations in float32; what spikes and how
it is reset: see `shared.spiking.layers`. Synapses whose `couple` is 0 and whose `direct` is 1 do
not filter.

Neurons stand in stages. In a step one stage follows another: a lag of 0 reaches the stages after
the neuron's own, and none else. So a loop of several layers is one population, in which a layer
reads the one before it in the same step, and the one at the end is read a step later.

Source: delays as lines between neurons: Morrison et al. 2005, "Advancing the Boundaries of
High-Connectivity Network Simulation with Distributed Computing", section 3.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.spiking.layers import SURROGATES, Slope
from shared.tensors.dtypes import F32, I32, U8

I64 = npt.NDArray[np.int64]
FIELDS = ("decay", "leak", "threshold", "reset", "synapse", "couple", "direct")


class Neurons(NamedTuple):
    """Constants of every neuron, (m,) float32 each; see `shared.spiking.layers.Layer`."""

    decay: F32
    leak: F32
    threshold: F32
    reset: F32
    synapse: F32
    couple: F32
    direct: F32


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """What does not change from step to step.

    `synapses` is (lags m, m), a scipy CSR array of whole numbers in int64: row d m + j is what
    neuron j sends, d steps after its spike. `ends` are the neurons where stages end.
    """

    neurons: Neurons
    synapses: Any
    ends: tuple[int, ...]
    subtract: bool = False
    fraction: int = 16

    @property
    def size(self) -> int:
        """Neurons."""
        return self.neurons.decay.size

    @property
    def lags(self) -> int:
        """Steps for which a spike is of consequence, its own included."""
        return int(self.synapses.shape[0]) // max(self.size, 1)

    @property
    def stages(self) -> list[slice]:
        """Neurons of each stage."""
        return [slice(first, end) for first, end in pairwise((0, *self.ends))]


class State(NamedTuple):
    """What goes from call to call."""

    v: F32  # (n, m) potentials
    i: F32  # (n, m) synaptic currents
    past: U8  # (n, lags - 1, m) spikes of the last steps, the latest last


class Ran(NamedTuple):
    """What many steps made."""

    spikes: U8  # (n, steps, m)
    after: State
    before: F32  # (n, steps, m) potentials before each reset


def ends_of(stages: tuple[int, ...], neurons: int) -> tuple[int, ...]:
    """Where stages of these sizes end; none named is one of all neurons.

    Raises:
        ValueError: a stage is empty, or they are not all neurons together.
    """
    if not stages:
        return (neurons,)
    if min(stages) < 1 or sum(stages) != neurons:
        raise ValueError(f"stages are of 1 neuron at least and {neurons} together, got {stages}")
    return tuple(int(end) for end in np.cumsum(stages))


def run(total: I32, start: State, population: Population) -> Ran:
    """Many steps.

    Args:
        total: (n, steps, m) int32, what arrives from elsewhere; see `layers.sums`.
        start: before the first step.
    """
    n, steps, _ = total.shape
    spikes, before = np.zeros(total.shape, np.uint8), np.empty(total.shape, np.float32)
    sent = _Sent(n, population, start.past)
    v, i = start.v.copy(), start.i.copy()
    for step in range(steps):
        for stage in population.stages:
            arrived = (total[:, step, stage] + sent.arriving(step)[:, stage]).astype(np.int32)
            fired, u = _advance(arrived, v, i, population, stage)
            spikes[:, step, stage], before[:, step, stage] = fired, u
            sent.send(step, fired, stage)
        sent.clear(step)
    lately = np.concatenate([start.past, spikes], axis=1)
    return Ran(spikes, State(v, i, lately[:, lately.shape[1] - (population.lags - 1) :]), before)


class _Sent:
    """What is on its way to neurons, by the step in which it arrives."""

    def __init__(self, n: int, population: Population, past: U8) -> None:
        self._population, self._lags = population, population.lags
        self._ring = np.zeros((self._lags, n, population.size), np.int64)
        everyone = slice(0, population.size)
        for ago in range(1, self._lags):
            self.send(-ago, past[:, self._lags - 1 - ago], everyone, first=ago)

    def arriving(self, step: int) -> I64:
        """(n, m)."""
        held: I64 = self._ring[step % self._lags]
        return held

    def send(self, step: int, fired: U8, stage: slice, first: int = 0) -> None:
        """Spikes (n, neurons of the stage) of a step, to arrive after `first` steps or later."""
        m = self._population.size
        for lag in range(first, self._lags):
            rows = slice(lag * m + stage.start, lag * m + stage.stop)
            codes = fired.astype(np.int64) @ self._population.synapses[rows]
            self._ring[(step + lag) % self._lags] += codes

    def clear(self, step: int) -> None:
        """Forget what arrived in a step."""
        self._ring[step % self._lags] = 0


def _advance(arrived: I32, v: F32, i: F32, population: Population, stage: slice) -> tuple[U8, F32]:
    """One step of a stage: spikes and potentials before the reset; v and i are written."""
    own = Neurons(*(values[stage] for values in population.neurons))
    driven = arrived.astype(np.float32) * np.float32(2.0**-population.fraction)
    passed: F32 = own.couple * i[:, stage] + own.direct * driven
    u: F32 = (own.leak + own.decay * (v[:, stage] - own.leak)) + passed
    fired = u > own.threshold
    i[:, stage] = own.synapse * i[:, stage] + driven
    v[:, stage] = np.where(fired, u - own.threshold if population.subtract else own.reset, u)
    return fired.astype(np.uint8), u


def slopes(ran: Ran, outer: F32, population: Population, slope: Slope, last: F32 | None) -> F32:
    """Back through time and along the synapses: the gradient of what arrives.

    Args:
        outer: (n, steps, m) float32, gradient of the spikes.
        last: (n, m) float32, gradient of the potentials after the last step.

    Returns:
        (n, steps, m) float32, with respect to S_t / 2**fraction; see `layers.slopes`.
    """
    own, found = population.neurons, np.zeros_like(outer)
    shape = SURROGATES[slope.surrogate](ran.before - own.threshold, np.float32(slope.steep))
    held = np.ones_like(outer) if population.subtract else (1 - ran.spikes).astype(np.float32)
    back = (population.synapses * 2.0**-population.fraction).astype(np.float32)
    later = np.zeros_like(outer[:, 0]) if last is None else last.copy()
    current = np.zeros_like(later)
    for step in reversed(range(outer.shape[1])):
        for stage in reversed(population.stages):
            of_spike = outer[:, step, stage] + _returned(found, step, stage, back, slope.truncate)
            of_u = of_spike * shape[:, step, stage] + later[:, stage] * held[:, step, stage]
            found[:, step, stage] = own.direct[stage] * of_u + current[:, stage]
            synaptic = own.couple[stage] * of_u + own.synapse[stage] * current[:, stage]
            later[:, stage], current[:, stage] = of_u * own.decay[stage], synaptic
        if slope.truncate and step % slope.truncate == 0:
            later, current = np.zeros_like(later), np.zeros_like(current)
    return found


def _returned(found: F32, step: int, stage: slice, back: Any, truncate: int) -> F32:
    """The gradient that comes back to a stage's spikes along what they sent."""
    n, steps, m = found.shape
    total = np.zeros((n, stage.stop - stage.start), np.float32)
    stretch = step - step % truncate + truncate if truncate else steps
    for lag in range(min(back.shape[0] // max(m, 1), min(stretch, steps) - step)):
        rows = back[lag * m + stage.start : lag * m + stage.stop]
        total += (rows @ found[:, step + lag].T).T
    return total
