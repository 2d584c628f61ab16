"""Spike-timing-dependent plasticity by pairs, all to all, with one trace per neuron.

    x  = decay_pre  × pre_trace                  traces first decay to now,
    y  = decay_post × post_trace
    w += a_plus × post × x - a_minus × y × pre   then the spikes of now read the traces of the past,
    w  = clip(w, w_min, w_max)
    pre_trace  = x + pre                         and at last leave their own mark.
    post_trace = y + post

So a spike of the presynaptic side that comes dt before one of the postsynaptic side adds
a_plus exp(-dt / tau_plus), the reverse order subtracts a_minus exp(-dt / tau_minus), and two
spikes of the same step do not pair.

Sources: Song, Miller and Abbott 2000, "Competitive Hebbian learning through spike-timing-dependent
synaptic plasticity"; Morrison, Diesmann and Gerstner 2008, "Phenomenological models of synaptic
plasticity based on spike timing", section 4.1 (traces).
"""

from dataclasses import dataclass
from math import exp, inf

import numpy as np

from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class StdpParams:
    """The learning window in SI units; weights have the unit of the synapse, here none."""

    a_plus: float  # weight gained by a pair without delay
    a_minus: float  # weight lost by a pair without delay
    tau_plus: float  # window of pre before post [s]
    tau_minus: float  # window of post before pre [s]
    w_min: float = 0.0
    w_max: float = 1.0

    def __post_init__(self) -> None:
        """Refuse windows without extent and empty weight ranges.

        Raises:
            ValueError: a time constant is not positive and finite, or w_min exceeds w_max.
        """
        for name in ("tau_plus", "tau_minus"):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)} s")
        if not self.w_min <= self.w_max:
            raise ValueError(f"w_min {self.w_min} exceeds w_max {self.w_max}")


@dataclass(frozen=True, slots=True)
class StdpStep:
    """The same rule for one step length: the numbers that the operator `stdp_update` takes."""

    a_plus: float
    a_minus: float
    decay_pre: float  # share of a presynaptic trace that is left after the step
    decay_post: float
    w_min: float
    w_max: float


@dataclass(frozen=True, slots=True, eq=False)
class StdpState:
    """What the synapses between two populations remember."""

    weight: F32  # (post, pre)
    pre_trace: F32  # (pre,)
    post_trace: F32  # (post,)


def discretize(params: StdpParams, *, dt: float) -> StdpStep:
    """The rule for steps of `dt` [s].

    Raises:
        ValueError: dt is not positive.
    """
    if not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt} s")
    decay_pre, decay_post = exp(-dt / params.tau_plus), exp(-dt / params.tau_minus)
    return StdpStep(
        params.a_plus, params.a_minus, decay_pre, decay_post, params.w_min, params.w_max
    )


def step(
    state: StdpState, pre_spikes: F32, post_spikes: F32, params: StdpParams, *, dt: float
) -> StdpState:
    """Advance weights and traces by `dt` [s].

    Args:
        state: weights (post, pre) and traces.
        pre_spikes: (pre,) float32 of 0 and 1.
        post_spikes: (post,) float32 of 0 and 1.

    Raises:
        ValueError: dt is not positive, or a shape does not fit the weights.
    """
    return advance(state, pre_spikes, post_spikes, discretize(params, dt=dt))


def advance(state: StdpState, pre_spikes: F32, post_spikes: F32, params: StdpStep) -> StdpState:
    """One step in float32, in the order in which the formulas above are written.

    Args:
        state: weights (post, pre) and traces.
        pre_spikes: (pre,) float32.
        post_spikes: (post,) float32.

    Raises:
        ValueError: a shape does not fit the weights.
    """
    _require_shapes(state, pre_spikes, post_spikes)
    x = np.float32(params.decay_pre) * state.pre_trace
    y = np.float32(params.decay_post) * state.post_trace
    gained = (np.float32(params.a_plus) * post_spikes)[:, None] * x[None, :]
    lost = (np.float32(params.a_minus) * y)[:, None] * pre_spikes[None, :]
    weight = np.clip(
        state.weight + gained - lost, np.float32(params.w_min), np.float32(params.w_max)
    )
    return StdpState(weight, x + pre_spikes, y + post_spikes)


def _require_shapes(state: StdpState, pre_spikes: F32, post_spikes: F32) -> None:
    if state.weight.ndim != 2:
        raise ValueError(f"weight must be (post, pre), got shape {state.weight.shape}")
    post, pre = state.weight.shape
    for name, array, size in (
        ("pre_spikes", pre_spikes, pre),
        ("pre_trace", state.pre_trace, pre),
        ("post_spikes", post_spikes, post),
        ("post_trace", state.post_trace, post),
    ):
        if array.shape != (size,):
            raise ValueError(
                f"{name} must be ({size},) for weight {state.weight.shape}, got {array.shape}"
            )
