"""Thresholds that rise in neurons which spike more often than they should, and fall in the others.

    theta = theta + gain (spike - target dt)

What a threshold has moved is gain times the spikes beyond those that the target promised, so that
a neuron whose threshold stays within bounds has the target as its rate in the long run. A threshold
that rises with spikes and falls back by itself is that of `adaptive_lif`, and theta of `plastic`.

Source: Lazar, Pipa and Triesch 2009, "SORN: a self-organizing recurrent neural network"
(intrinsic plasticity).
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from shared.spiking import membrane
from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class HomeostasisParams:
    """The rate that neurons are held to."""

    target: float  # [Hz]
    gain: float  # by which a spike lifts the threshold [V]
    lowest: float = -inf  # below which a threshold does not fall [V]

    def __post_init__(self) -> None:
        """Refuse rates and gains that hold nothing.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("target", self.target, "Hz")
        membrane.require_positive("gain", self.gain, "V")
        if not self.lowest < inf:
            raise ValueError(f"lowest must be a number or -inf, got {self.lowest} V")


@dataclass(frozen=True, slots=True)
class HomeostasisStep:
    """The same rule for one step length."""

    gain: float  # [V]
    due: float  # spikes per step, 0..1
    lowest: float  # [V]


def discretize(params: HomeostasisParams, *, dt: float) -> HomeostasisStep:
    """The rule for steps of `dt` [s].

    Raises:
        ValueError: dt is not positive and finite, or too long for the rate.
    """
    membrane.require_step(dt)
    due = params.target * dt
    if due > 1.0:
        raise ValueError(
            f"target must be at most {1.0 / dt} Hz for steps of {dt} s, got {due / dt}"
        )
    return HomeostasisStep(params.gain, due, params.lowest)


def step(theta: F32, spikes: F32, params: HomeostasisParams, *, dt: float) -> F32:
    """Thresholds after a step of `dt` [s].

    Args:
        theta: (..., neurons) float32, thresholds before it [V].
        spikes: (..., neurons) float32 of 0 and 1.

    Raises:
        ValueError: dt is not positive or too long, or the shapes differ.
    """
    return advance(theta, spikes, discretize(params, dt=dt))


def advance(theta: F32, spikes: F32, params: HomeostasisStep) -> F32:
    """One step in float32.

    Raises:
        ValueError: the shapes differ.
    """
    if theta.shape != spikes.shape:
        raise ValueError(f"theta {theta.shape} and spikes {spikes.shape} must have one shape")
    moved = theta + np.float32(params.gain) * (spikes - np.float32(params.due))
    return np.asarray(np.maximum(moved, np.float32(params.lowest)), dtype=np.float32)
