"""Leaky neurons whose synapses or thresholds learn over many seconds, for the pictures."""

import numpy as np
import numpy.typing as npt

from shared.spiking import delays, homeostasis, lif, membrane, stdp
from shared.spiking.delays import DelayParams
from shared.spiking.homeostasis import HomeostasisParams
from shared.spiking.lif import LifParams
from shared.spiking.stdp import StdpParams, StdpState
from shared.tensors.dtypes import F32

DT = 1e-3  # [s]
NEURON = LifParams(0.02, 1e8, v_rest=-0.07, v_threshold=-0.054, v_reset=-0.06)
HELD = HomeostasisParams(target=20.0, gain=2e-4, lowest=-0.005)
INPUTS, SHARING, RATE = 100, 40, 15.0  # all at one rate [Hz]
LATE = DelayParams(tuple(1e-3 * (at // 2 if at < SHARING else 0) for at in range(INPUTS)))  # [s]
KICK = 6e-10  # current of a spike through a synapse of weight 1, for one step [A]


def settled(*, softness: float, seconds: int = 100) -> F32:
    """Weights (inputs,) of a neuron that has learned from spikes by chance, from a half on.

    The first `SHARING` inputs take every other spike from a source that they share, each after its
    delay of `LATE`.

    Sources: Song, Miller and Abbott 2000 (hard bounds, inputs of different latency); Gütig et al.
    2003 (soft bounds).
    """
    rng = np.random.default_rng(580)
    rule = stdp.discretize(StdpParams(0.01, 0.0105, 0.02, 0.02, softness=softness), dt=DT)
    neuron, state = lif.at_rest((1,), NEURON), _unlearned(INPUTS)
    axons, under_way = delays.discretize(LATE, dt=DT), delays.empty(LATE, dt=DT)
    for _ in range(round(seconds / DT)):
        under_way, pre = delays.advance(under_way, _sent(rng), axons)
        current = np.asarray(state.weight @ pre * np.float32(KICK), np.float32)
        neuron, post = lif.step(neuron, current, NEURON, dt=DT)
        state = stdp.advance(state, pre, post, rule)
    return np.asarray(state.weight[0])


def _sent(rng: np.random.Generator) -> F32:
    """Spikes (inputs,) of one step."""
    share = np.full(INPUTS, RATE * DT)
    share[:SHARING] /= 2
    if rng.random() < RATE * DT:
        share[:SHARING] += 0.5
    return (rng.random(INPUTS) < share).astype(np.float32)


def _unlearned(inputs: int) -> StdpState:
    half = np.full((1, inputs), 0.5, np.float32)
    return StdpState(half, np.zeros(inputs, np.float32), np.zeros(1, np.float32))


def held(*, neurons: int = 20, seconds: int = 30) -> tuple[npt.NDArray[np.int64], F32]:
    """Neurons under currents of 0.18 to 0.4 nA and noise whose thresholds are held to a rate.

    Returns:
        (seconds,) the end of each second, and (seconds, neurons) spikes in it.
    """
    rng, each = np.random.default_rng(580), round(1 / DT)
    mean = np.linspace(1.8e-10, 4e-10, neurons)
    state, theta = lif.at_rest((neurons,), NEURON), np.zeros(neurons, np.float32)
    counts = np.zeros((seconds, neurons), np.float32)
    for now in range(seconds * each):
        current = (mean + 4e-10 * rng.standard_normal(neurons)).astype(np.float32)
        state, spikes = _lifted(state, current, theta)
        theta = homeostasis.step(theta, spikes, HELD, dt=DT)
        counts[now // each] += spikes
    return np.arange(1, seconds + 1), counts


def _lifted(state: lif.LifState, current: F32, theta: F32) -> tuple[lif.LifState, F32]:
    """A step of neurons whose thresholds are theta [V] above their own."""
    left, passed = membrane.decay(NEURON.tau_mem, dt=DT, method="exact")
    gain = NEURON.resistance * passed
    u = membrane.relaxed(state.v, current, left=left, gain=gain, v_rest=NEURON.v_rest)
    threshold = np.float32(NEURON.v_threshold) + theta
    v, refractory, spikes = membrane.fire(
        u, state.v, state.held, NEURON, dt=DT, threshold=threshold
    )
    return lif.LifState(v, refractory), spikes
