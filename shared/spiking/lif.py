"""The leaky integrate-and-fire neuron, advanced in fixed steps.

    tau dv/dt = -(v - v_rest) + R i                                between spikes
    u      = v_rest + decay (v - v_rest) + gain i                  one step
    spike  = u > v_threshold   (strictly),   v = v_reset if spike else u

For a current that is constant over the step, decay = exp(-dt / tau) and gain = R (1 - decay) solve
the equation exactly, whatever dt; forward Euler has 1 - dt / tau and R dt / tau. Threshold and
reset are looked at once, at the end of the step; other resets, refractoriness: see `membrane`.

Source: Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, section 1.3.
"""

from dataclasses import dataclass, field

import numpy as np

from shared.spiking import membrane
from shared.spiking.membrane import Method, Reset
from shared.tensors.dtypes import F32, I32


@dataclass(frozen=True, slots=True)
class LifParams:
    """The membrane in SI units."""

    tau_mem: float  # membrane time constant [s]
    resistance: float  # membrane resistance [ohm]
    v_rest: float  # [V]
    v_threshold: float  # [V]
    v_reset: float  # [V]
    reset: Reset = "value"
    t_refractory: float = 0.0  # [s]

    def __post_init__(self) -> None:
        """Refuse a membrane that cannot leak, or that a spike does not reset.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("tau_mem", self.tau_mem, "s")
        membrane.require_positive("resistance", self.resistance, "ohm")
        membrane.require_finite("v_rest", self.v_rest, "V")
        membrane.require_spiking(self)


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
    held: I32 = field(default_factory=membrane.ready)  # (..., neurons) refractory steps to come


def at_rest(shape: tuple[int, ...], params: LifParams) -> LifState:
    """A population of the given shape at its resting potential."""
    return LifState(np.full(shape, params.v_rest, dtype=np.float32), membrane.ready(shape))


def discretize(params: LifParams, *, dt: float, method: Method = "exact") -> LifStep:
    """The step of length `dt` [s] for a current that is constant during it.

    Raises:
        ValueError: dt is not positive, or exceeds the time constant under Euler.
    """
    left, passed = membrane.decay(params.tau_mem, dt=dt, method=method)
    gain = params.resistance * passed
    return LifStep(left, gain, params.v_rest, params.v_threshold, params.v_reset)


def step(
    state: LifState, current: F32, params: LifParams, *, dt: float, method: Method = "exact"
) -> tuple[LifState, F32]:
    """Advance a population by `dt` [s].

    Args:
        state: (..., neurons).
        current: (..., neurons) float32 [A], constant during the step.

    Returns:
        The next state, and (..., neurons) float32 spikes of 0 and 1.

    Raises:
        ValueError: dt is not positive or too long for Euler, the shapes differ, or a current is
            not finite.
    """
    membrane.require_current(state.v, current)
    u = charged(state.v, current, discretize(params, dt=dt, method=method))
    v, held, spikes = membrane.fire(u, state.v, state.held, params, dt=dt)
    return LifState(v, held), spikes


def charged(v: F32, current: F32, params: LifStep) -> F32:
    """The potential (..., neurons) that a step leads to, before it is held to the threshold."""
    return membrane.relaxed(v, current, left=params.decay, gain=params.gain, v_rest=params.v_rest)


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
    membrane.require_one_shape(v, current)
    u = charged(v, current, params)
    spikes = u > np.float32(params.v_threshold)
    return np.where(spikes, np.float32(params.v_reset), u), spikes.astype(np.float32)
