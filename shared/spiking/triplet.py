"""Spike-timing-dependent plasticity by triplets, all to all, with two traces per neuron.

    every trace decays                                r1, r2 of inputs, o1, o2 of neurons
    w += r1 (a2_plus + a3_plus o2)                    where the neuron spikes
    w -= o1 (a2_minus + a3_minus r2)                  where the input spikes
    w  = clip(w, w_min, w_max)
    every trace of who spikes rises by 1

All changes read the traces of the past: o2 of a spike is what earlier spikes of the same neuron
left, so two postsynaptic spikes shortly after an input strengthen more than twice one.

Source: Pfister and Gerstner 2006, "Triplets of Spikes in a Model of Spike Timing-Dependent
Plasticity", equations 2 to 4; the defaults are their minimal model of visual cortex, table 3.
"""

from dataclasses import dataclass
from math import exp, inf

import numpy as np

from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class TripletParams:
    """Amplitudes, and windows in SI units."""

    a2_plus: float = 0.0
    a3_plus: float = 6.5e-3
    a2_minus: float = 7.1e-3
    a3_minus: float = 0.0
    tau_plus: float = 16.8e-3  # of r1 [s]
    tau_x: float = 101e-3  # of r2 [s]
    tau_minus: float = 33.7e-3  # of o1 [s]
    tau_y: float = 114e-3  # of o2 [s]
    w_min: float = 0.0
    w_max: float = 1.0

    def __post_init__(self) -> None:
        """Refuse windows without extent and empty weight ranges.

        Raises:
            ValueError: a time constant is not positive and finite, or w_min exceeds w_max.
        """
        for name in ("tau_plus", "tau_x", "tau_minus", "tau_y"):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)} s")
        if not self.w_min <= self.w_max:
            raise ValueError(f"w_min {self.w_min} exceeds w_max {self.w_max}")


@dataclass(frozen=True, slots=True, eq=False)
class TripletState:
    """What the synapses between two populations remember."""

    weight: F32  # (post, pre)
    r1: F32  # (pre,)
    r2: F32  # (pre,)
    o1: F32  # (post,)
    o2: F32  # (post,)


def at_rest(weight: F32) -> TripletState:
    """Synapses (post, pre) whose neurons have not spiked yet."""
    post, pre = (np.zeros(size, np.float32) for size in weight.shape)
    return TripletState(weight, pre, pre, post, post)


def step(
    state: TripletState, pre_spikes: F32, post_spikes: F32, params: TripletParams, *, dt: float
) -> TripletState:
    """Advance weights and traces by `dt` [s].

    Args:
        pre_spikes: (pre,) float32 of 0 and 1.
        post_spikes: (post,) float32 of 0 and 1.

    Raises:
        ValueError: dt is not positive, or the spikes do not fit the weights.
    """
    if not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt} s")
    if (*post_spikes.shape, *pre_spikes.shape) != state.weight.shape:
        shapes = f"{post_spikes.shape} and {pre_spikes.shape}"
        raise ValueError(f"spikes {shapes} do not fit weights (post, pre) {state.weight.shape}")
    r1, r2, o1, o2 = (
        np.float32(exp(-dt / tau)) * trace
        for tau, trace in (
            (params.tau_plus, state.r1),
            (params.tau_x, state.r2),
            (params.tau_minus, state.o1),
            (params.tau_y, state.o2),
        )
    )
    strong = post_spikes * (np.float32(params.a2_plus) + np.float32(params.a3_plus) * o2)
    weak = pre_spikes * (np.float32(params.a2_minus) + np.float32(params.a3_minus) * r2)
    changed = state.weight + np.multiply.outer(strong, r1) - np.multiply.outer(o1, weak)
    weight = np.clip(changed, np.float32(params.w_min), np.float32(params.w_max))
    return TripletState(
        weight, r1 + pre_spikes, r2 + pre_spikes, o1 + post_spikes, o2 + post_spikes
    )
