"""The leaky integrate-and-fire neuron with reset to a value, advanced in fixed steps.

    tau dv/dt = -(v - v_rest) + R i                                between spikes
    u      = v_rest + decay (v - v_rest) + gain i                  one step
    spike  = u > v_threshold   (strictly),   v = v_reset if spike else u

For a current that is constant over the step, decay = exp(-dt / tau) and gain = R (1 - decay) solve
the equation exactly, whatever dt. Threshold and reset are looked at once, at the end of the step.

Source: Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, section 1.3.
"""

from dataclasses import dataclass
from math import exp, expm1, inf

import numpy as np

from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class LifParams:
    """The membrane in SI units."""

    tau_mem: float  # membrane time constant [s]
    resistance: float  # membrane resistance [ohm]
    v_rest: float  # [V]
    v_threshold: float  # [V]
    v_reset: float  # [V]

    def __post_init__(self) -> None:
        """Refuse a membrane that cannot leak.

        Raises:
            ValueError: the time constant is not positive and finite.
        """
        if not 0.0 < self.tau_mem < inf:
            raise ValueError(f"tau_mem must be positive and finite, got {self.tau_mem} s")


@dataclass(frozen=True, slots=True)
class LifStep:
    """The same neuron for one step length: the numbers that the operator `lif_step` takes."""

    decay: float  # share of v - v_rest that is left after the step
    gain: float  # [V] per unit of current
    v_rest: float  # [V]
    v_threshold: float  # [V]
    v_reset: float  # [V]


@dataclass(frozen=True, slots=True, eq=False)
class LifState:
    """What a population remembers."""

    v: F32  # (..., neurons) membrane potential [V]


def at_rest(shape: tuple[int, ...], params: LifParams) -> LifState:
    """A population of the given shape at its resting potential."""
    return LifState(np.full(shape, params.v_rest, dtype=np.float32))


def discretize(params: LifParams, *, dt: float) -> LifStep:
    """The exact step of length `dt` [s] for a current that is constant during it.

    Raises:
        ValueError: dt is not positive.
    """
    if not dt > 0.0:
        raise ValueError(f"dt must be positive, got {dt} s")
    decay = exp(-dt / params.tau_mem)
    gain = -params.resistance * expm1(-dt / params.tau_mem)
    return LifStep(decay, gain, params.v_rest, params.v_threshold, params.v_reset)


def step(state: LifState, current: F32, params: LifParams, *, dt: float) -> tuple[LifState, F32]:
    """Advance a population by `dt` [s].

    Args:
        state: (..., neurons).
        current: (..., neurons) float32 [A], constant during the step.

    Returns:
        The next state, and (..., neurons) float32 spikes of 0 and 1.

    Raises:
        ValueError: dt is not positive, or the shapes differ.
    """
    v_next, spikes = advance(state.v, current, discretize(params, dt=dt))
    return LifState(v_next), spikes


def advance(v: F32, current: F32, params: LifStep) -> tuple[F32, F32]:
    """One step in float32, in the order in which the formula above is written.

    A NaN potential stays NaN and does not spike.

    Args:
        v: (..., neurons) float32 [V].
        current: (..., neurons) float32.

    Returns:
        The next potential and the spikes (0 or 1), both (..., neurons) float32.

    Raises:
        ValueError: the shapes differ.
    """
    if v.shape != current.shape:
        raise ValueError(f"v {v.shape} and current {current.shape} must have one shape")
    rest = np.float32(params.v_rest)
    u = rest + np.float32(params.decay) * (v - rest) + np.float32(params.gain) * current
    spikes = u > np.float32(params.v_threshold)
    return np.where(spikes, np.float32(params.v_reset), u), spikes.astype(np.float32)
