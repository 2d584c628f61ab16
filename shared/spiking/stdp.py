"""Spike-timing-dependent plasticity by pairs, all to all or nearest, with one trace per neuron.

    x  = decay_pre  × pre_trace                  traces first decay to now,
    y  = decay_post × post_trace
    w += a_plus × post × x - a_minus × y × pre   then the spikes of now read the traces of the past,
    w  = clip(w, w_min, w_max)
    pre_trace  = x + pre                         and at last leave their own mark.
    post_trace = y + post

So a spike of the presynaptic side that comes dt before one of the postsynaptic side adds
a_plus exp(-dt / tau_plus), the reverse order subtracts a_minus exp(-dt / tau_minus), and two
spikes of the same step do not pair. Of nearest pairs a spike sees only the last one of the other
side: its mark is 1 instead of one more. Soft bounds: see `synapses`.

Sources: Song, Miller and Abbott 2000, "Competitive Hebbian learning through spike-timing-dependent
synaptic plasticity"; Morrison, Diesmann and Gerstner 2008, "Phenomenological models of synaptic
plasticity based on spike timing", section 4.1 (traces, nearest pairs).
"""

from dataclasses import dataclass
from math import exp
from typing import NamedTuple

import numpy as np

from shared.spiking import membrane, synapses
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
    nearest: bool = False  # only the last spike before counts, not all
    softness: float = 0.0  # of the bounds; 0: hard

    def __post_init__(self) -> None:
        """Refuse windows without extent and weight ranges that cannot be.

        Raises:
            ValueError: names the value and its limit.
        """
        synapses.require_windows({"tau_plus": self.tau_plus, "tau_minus": self.tau_minus})
        synapses.require_bounds(self, {"a_plus": self.a_plus, "a_minus": self.a_minus})


@dataclass(frozen=True, slots=True)
class StdpStep:
    """The same rule for one step length: what the operator `stdp_update` takes, and two choices."""

    a_plus: float
    a_minus: float
    decay_pre: float  # share of a presynaptic trace that is left after the step
    decay_post: float
    w_min: float
    w_max: float
    nearest: bool = False
    softness: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class StdpState:
    """What the synapses between two populations remember."""

    weight: F32  # (post, pre)
    pre_trace: F32  # (pre,)
    post_trace: F32  # (post,)


class Paired(NamedTuple):
    """What the spikes of a step make of those before."""

    gained: F32  # (post, pre)
    lost: F32  # (post, pre)
    pre_trace: F32  # (pre,) after the step
    post_trace: F32  # (post,)


def discretize(params: StdpParams, *, dt: float) -> StdpStep:
    """The rule for steps of `dt` [s].

    Raises:
        ValueError: dt is not positive and finite.
    """
    membrane.require_step(dt)
    decay_pre, decay_post = exp(-dt / params.tau_plus), exp(-dt / params.tau_minus)
    return StdpStep(
        params.a_plus, params.a_minus, decay_pre, decay_post, params.w_min, params.w_max,
        params.nearest, params.softness,
    )  # fmt: skip


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
    made = paired(state, pre_spikes, post_spikes, params)
    weight = synapses.changed(state.weight, made.gained, made.lost, params)
    return StdpState(weight, made.pre_trace, made.post_trace)


def paired(state: StdpState, pre_spikes: F32, post_spikes: F32, params: StdpStep) -> Paired:
    """The changes that a step asks for, before bounds, and the traces after it.

    Args:
        state: weights (post, pre) and traces.
        pre_spikes: (pre,) float32.
        post_spikes: (post,) float32.

    Raises:
        ValueError: a shape does not fit the weights.
    """
    synapses.require_shapes(
        state.weight,
        {"pre_spikes": pre_spikes, "pre_trace": state.pre_trace},
        {"post_spikes": post_spikes, "post_trace": state.post_trace},
    )
    x = np.float32(params.decay_pre) * state.pre_trace
    y = np.float32(params.decay_post) * state.post_trace
    gained = (np.float32(params.a_plus) * post_spikes)[:, None] * x[None, :]
    lost = (np.float32(params.a_minus) * y)[:, None] * pre_spikes[None, :]
    pre, post = (
        synapses.marked(trace, spikes, nearest=params.nearest)
        for trace, spikes in ((x, pre_spikes), (y, post_spikes))
    )
    return Paired(gained, lost, pre, post)
