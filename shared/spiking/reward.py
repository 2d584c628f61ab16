"""Plasticity that waits for a reward: spikes make synapses eligible, dopamine changes them.

    dc/dt = -c / tau_eligibility + pairs       every synapse remembers what STDP would have done
    dd/dt = -d / tau_dopamine + reward
    dw/dt = c d

Between spikes and rewards c and d fall exponentially, so that a step of dt is exact:

    w = w + c d (1 - exp(-k dt)) / k           k = 1 / tau_eligibility + 1 / tau_dopamine
    c = exp(-dt / tau_eligibility) c + gained - lost       see `stdp`
    d = exp(-dt / tau_dopamine) d + reward

Pairs and reward come at the end of their step. A change c0 that a reward r follows T later ends, if
nothing else happens, at c0 r exp(-T / tau_eligibility) / k. Bounds hold the weight, not c.

Source: Izhikevich 2007, "Solving the distal reward problem through linkage of STDP and dopamine
signaling".
"""

from dataclasses import dataclass
from math import exp, expm1, isfinite

import numpy as np

from shared.spiking import stdp, synapses
from shared.spiking.stdp import StdpParams, StdpState, StdpStep
from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class RewardParams:
    """Windows of pairs, and how long they and a reward are remembered."""

    pairs: StdpParams  # its bounds are those of the weights
    tau_eligibility: float = 1.0  # [s]
    tau_dopamine: float = 0.2  # [s]

    def __post_init__(self) -> None:
        """Refuse memories without extent.

        Raises:
            ValueError: names the value and its limit.
        """
        times = {"tau_eligibility": self.tau_eligibility, "tau_dopamine": self.tau_dopamine}
        synapses.require_windows(times)


@dataclass(frozen=True, slots=True)
class RewardStep:
    """The same rule for one step length."""

    pairs: StdpStep
    left_eligibility: float  # share that is left after the step
    left_dopamine: float
    passed: float  # (1 - exp(-k dt)) / k [s]


@dataclass(frozen=True, slots=True, eq=False)
class RewardState:
    """What the synapses between two populations remember."""

    weight: F32  # (post, pre)
    eligibility: F32  # (post, pre), unit of the weights
    pre_trace: F32  # (pre,)
    post_trace: F32  # (post,)
    dopamine: F32  # () [1/s]


def silent(weight: F32) -> RewardState:
    """Synapses (post, pre) that neither a spike nor a reward has passed for long."""
    post, pre = (np.zeros(size, np.float32) for size in weight.shape)
    return RewardState(weight, np.zeros_like(weight), pre, post, np.zeros((), np.float32))


def discretize(params: RewardParams, *, dt: float) -> RewardStep:
    """The rule for steps of `dt` [s].

    Raises:
        ValueError: dt is not positive and finite.
    """
    pairs = stdp.discretize(params.pairs, dt=dt)
    rate = 1.0 / params.tau_eligibility + 1.0 / params.tau_dopamine
    eligibility, dopamine = exp(-dt / params.tau_eligibility), exp(-dt / params.tau_dopamine)
    return RewardStep(pairs, eligibility, dopamine, -expm1(-rate * dt) / rate)


def step(
    state: RewardState,
    pre_spikes: F32,
    post_spikes: F32,
    params: RewardParams,
    *,
    reward: float = 0.0,
    dt: float,
) -> RewardState:
    """Advance weights, eligibility and dopamine by `dt` [s].

    Args:
        state: weights (post, pre) and all that is remembered.
        pre_spikes: (pre,) float32 of 0 and 1.
        post_spikes: (post,) float32 of 0 and 1.
        reward: dopamine that is released at the end of the step [1/s]; negative: punishment.

    Raises:
        ValueError: dt is not positive and finite, the reward is not finite, or a shape does
            not fit.
    """
    return advance(state, pre_spikes, post_spikes, discretize(params, dt=dt), reward=reward)


def advance(
    state: RewardState, pre_spikes: F32, post_spikes: F32, params: RewardStep, *, reward: float
) -> RewardState:
    """One step in float32, in the order in which the formulas above are written.

    Raises:
        ValueError: the reward is not finite, or a shape does not fit the weights.
    """
    if not isfinite(reward):
        raise ValueError(f"reward must be finite, got {reward}")
    if state.eligibility.shape != state.weight.shape:
        shapes = f"eligibility {state.eligibility.shape} and weight {state.weight.shape}"
        raise ValueError(f"{shapes} must have one shape")
    traces = StdpState(state.weight, state.pre_trace, state.post_trace)
    made = stdp.paired(traces, pre_spikes, post_spikes, params.pairs)
    moved = state.eligibility * (state.dopamine * np.float32(params.passed))
    none = np.float32(0)
    weight = synapses.changed(
        state.weight, np.maximum(moved, none), np.maximum(-moved, none), params.pairs
    )
    eligibility = np.float32(params.left_eligibility) * state.eligibility + made.gained - made.lost
    dopamine = np.float32(params.left_dopamine) * state.dopamine + np.float32(reward)
    return RewardState(
        weight, eligibility, made.pre_trace, made.post_trace, np.asarray(dopamine, np.float32)
    )
