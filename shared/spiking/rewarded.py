"""Plasticity that waits for a reward: pairs of spikes leave a trace, a reward turns it into weight.

    c = decay_c c + (what `stdp` would add to the weight, unclipped)     eligibility of a synapse
    w = clip(w + reward c, w_min, w_max)

Source: Izhikevich 2007, "Solving the Distal Reward Problem through Linkage of STDP and Dopamine
Signaling", equations 1 and 2, with the dopamine of a step as a number of the caller's.
"""

from dataclasses import dataclass
from math import exp, inf, isfinite

import numpy as np

from shared.spiking import stdp
from shared.spiking.stdp import StdpParams, StdpState
from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class RewardedParams:
    """The window of pairs, and how long a synapse remembers them."""

    pairs: StdpParams
    tau_c: float = 1.0  # of the eligibility [s]

    def __post_init__(self) -> None:
        """Refuse a memory without extent.

        Raises:
            ValueError: the time constant is not positive and finite.
        """
        if not 0.0 < self.tau_c < inf:
            raise ValueError(f"tau_c must be positive and finite, got {self.tau_c} s")


@dataclass(frozen=True, slots=True, eq=False)
class RewardedState:
    """What the synapses between two populations remember."""

    weight: F32  # (post, pre)
    eligibility: F32  # (post, pre)
    pre_trace: F32  # (pre,)
    post_trace: F32  # (post,)


def at_rest(weight: F32) -> RewardedState:
    """Synapses (post, pre) that nothing has happened to yet."""
    post, pre = (np.zeros(size, np.float32) for size in weight.shape)
    return RewardedState(weight, np.zeros_like(weight), pre, post)


def step(
    state: RewardedState,
    pre_spikes: F32,
    post_spikes: F32,
    params: RewardedParams,
    *,
    reward: float,
    dt: float,
) -> RewardedState:
    """Advance by `dt` [s].

    Args:
        pre_spikes: (pre,) float32 of 0 and 1.
        post_spikes: (post,) float32 of 0 and 1.
        reward: of this step; negative punishes.

    Raises:
        ValueError: dt is not positive, the reward not finite, or the spikes do not fit.
    """
    if not isfinite(reward):
        raise ValueError(f"a reward is finite, got {reward}")
    window = stdp.discretize(params.pairs, dt=dt)
    nothing = StdpState(np.zeros_like(state.weight), state.pre_trace, state.post_trace)
    free = stdp.StdpStep(
        window.a_plus, window.a_minus, window.decay_pre, window.decay_post, -inf, inf
    )
    added = stdp.advance(nothing, pre_spikes, post_spikes, free)
    eligibility = np.float32(exp(-dt / params.tau_c)) * state.eligibility + added.weight
    low, high = np.float32(params.pairs.w_min), np.float32(params.pairs.w_max)
    weight = np.clip(state.weight + np.float32(reward) * eligibility, low, high)
    return RewardedState(weight, eligibility, added.pre_trace, added.post_trace)
