"""Spike-timing-dependent plasticity by triplets: two traces per neuron, a fast and a slow one.

    traces first decay to now: r1 by tau_plus, r2 by tau_x; o1 by tau_minus, o2 by tau_y
    w += post × r1 (a2_plus  + a3_plus  o2)      at a spike of the neuron
    w -= pre  × o1 (a2_minus + a3_minus r2)      at a spike of the input
    r1, r2 += pre;  o1, o2 += post               at last the spikes leave their own mark

The inputs have r, the neurons o. Slow traces are read before the spikes of now mark them, as in the
paper. Two spikes of the same step do not pair. With a3_plus = a3_minus = 0 it is the rule of pairs,
see `stdp`. Nearest spikes and soft bounds: see `synapses`.

Source: Pfister and Gerstner 2006, "Triplets of spikes in a model of spike timing-dependent
plasticity", eq. 3 and 4; `VISUAL_CORTEX` is the full model, all to all, as fitted there to slices
of visual cortex.
"""

from dataclasses import dataclass
from math import exp

import numpy as np

from shared.spiking import membrane, synapses
from shared.tensors.dtypes import F32

AMPLITUDES = ("a2_plus", "a3_plus", "a2_minus", "a3_minus")
WINDOWS = ("tau_plus", "tau_x", "tau_minus", "tau_y")


@dataclass(frozen=True, slots=True)
class TripletParams:
    """Amplitudes in the unit of the weights, windows in seconds."""

    a2_plus: float  # weight gained by a pair, pre before post
    a3_plus: float  # the same for post, pre, post
    a2_minus: float  # weight lost by a pair, post before pre
    a3_minus: float  # the same for pre, post, pre
    tau_plus: float  # window of pre before post [s]
    tau_x: float  # of the earlier input spike [s]
    tau_minus: float  # window of post before pre [s]
    tau_y: float  # of the neuron's earlier spike [s]
    w_min: float = 0.0
    w_max: float = 1.0
    nearest: bool = False  # only the last spike before counts, not all
    softness: float = 0.0  # of the bounds; 0: hard

    def __post_init__(self) -> None:
        """Refuse windows without extent and weight ranges that cannot be.

        Raises:
            ValueError: names the value and its limit.
        """
        synapses.require_windows({name: getattr(self, name) for name in WINDOWS})
        synapses.require_bounds(self, {name: getattr(self, name) for name in AMPLITUDES})


VISUAL_CORTEX = TripletParams(
    a2_plus=5e-10, a3_plus=6.2e-3, a2_minus=7e-3, a3_minus=2.3e-4,
    tau_plus=16.8e-3, tau_x=0.101, tau_minus=33.7e-3, tau_y=0.125,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TripletStep:
    """The same rule for one step length: the share of each trace that is left after it."""

    rule: TripletParams
    left_r1: float
    left_r2: float
    left_o1: float
    left_o2: float


@dataclass(frozen=True, slots=True, eq=False)
class TripletState:
    """What the synapses between two populations remember."""

    weight: F32  # (post, pre)
    r1: F32  # (pre,)
    r2: F32  # (pre,)
    o1: F32  # (post,)
    o2: F32  # (post,)


def silent(weight: F32) -> TripletState:
    """Synapses (post, pre) that no spike has passed for long."""
    post, pre = (np.zeros(size, np.float32) for size in weight.shape)
    return TripletState(weight, pre, pre, post, post)


def discretize(params: TripletParams, *, dt: float) -> TripletStep:
    """The rule for steps of `dt` [s].

    Raises:
        ValueError: dt is not positive and finite.
    """
    membrane.require_step(dt)
    return TripletStep(params, *(exp(-dt / getattr(params, name)) for name in WINDOWS))


def step(
    state: TripletState, pre_spikes: F32, post_spikes: F32, params: TripletParams, *, dt: float
) -> TripletState:
    """Advance weights and traces by `dt` [s].

    Args:
        state: weights (post, pre) and traces.
        pre_spikes: (pre,) float32 of 0 and 1.
        post_spikes: (post,) float32 of 0 and 1.

    Raises:
        ValueError: dt is not positive and finite, or a shape does not fit the weights.
    """
    return advance(state, pre_spikes, post_spikes, discretize(params, dt=dt))


def advance(
    state: TripletState, pre_spikes: F32, post_spikes: F32, params: TripletStep
) -> TripletState:
    """One step in float32, in the order in which the formulas above are written.

    Args:
        state: weights (post, pre) and traces.
        pre_spikes: (pre,) float32.
        post_spikes: (post,) float32.

    Raises:
        ValueError: a shape does not fit the weights.
    """
    synapses.require_shapes(
        state.weight,
        {"pre_spikes": pre_spikes, "r1": state.r1, "r2": state.r2},
        {"post_spikes": post_spikes, "o1": state.o1, "o2": state.o2},
    )
    rule = params.rule
    r1, r2 = np.float32(params.left_r1) * state.r1, np.float32(params.left_r2) * state.r2
    o1, o2 = np.float32(params.left_o1) * state.o1, np.float32(params.left_o2) * state.o2
    up = post_spikes * (np.float32(rule.a2_plus) + np.float32(rule.a3_plus) * o2)
    down = pre_spikes * (np.float32(rule.a2_minus) + np.float32(rule.a3_minus) * r2)
    weight = synapses.changed(state.weight, up[:, None] * r1, o1[:, None] * down, rule)
    r1, r2 = (synapses.marked(trace, pre_spikes, nearest=rule.nearest) for trace in (r1, r2))
    o1, o2 = (synapses.marked(trace, post_spikes, nearest=rule.nearest) for trace in (o1, o2))
    return TripletState(weight, r1, r2, o1, o2)
