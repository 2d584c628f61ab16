"""What the models of neurons share: steps of an equation, spikes, resets and refractoriness.

A step of length dt goes in this order, in float32:

    1. the equations of the model lead from the potential v to u
    2. a refractory neuron keeps v instead of u, and does not spike
    3. spike = u > threshold                                    strictly
    4. v = u, or where it spikes
           v_reset                                 reset = "value"
           0                                       reset = "zero"
           u - (v_threshold - v_reset)             reset = "subtract"
    5. a spike begins ceil(t_refractory / dt) refractory steps; any other step is one of them less

Two spikes are therefore more than t_refractory apart. What is not the potential (synaptic currents,
adaptation) goes on while a neuron is refractory. Currents are finite; a potential that is not a
number stays so and does not spike, as in the operators.

Sources: Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, sections 1.3 and 5.1;
exact steps: Rotter and Diesmann 1999, "Exact digital simulation of time-invariant linear systems
with applications to neuronal modeling"; subtraction: Rueckauer et al. 2017, section 2.1.
"""

from math import ceil, exp, expm1, inf, isfinite
from typing import Literal, NamedTuple, Protocol

import numpy as np

from shared.tensors.dtypes import F32, I32

Method = Literal["exact", "euler"]
Reset = Literal["value", "zero", "subtract"]
ROUNDING = 1e-12  # relative: 0.9 s are three steps of 0.3 s, though 0.9 / 0.3 is above 3


class Spiking(Protocol):
    """What the parameters of every neuron with a threshold say."""

    @property
    def v_threshold(self) -> float:
        """[V]; infinite: it never spikes."""

    @property
    def v_reset(self) -> float:
        """[V]."""

    @property
    def reset(self) -> Reset:
        """What a spike does to the potential."""

    @property
    def t_refractory(self) -> float:
        """[s]."""


class Decay(NamedTuple):
    """A step of tau dx/dt = -x + y: x becomes left x + passed y."""

    left: float
    passed: float


class Fired(NamedTuple):
    """What is left of a step after its spikes."""

    v: F32  # (..., neurons) [V]
    held: I32  # (..., neurons) refractory steps that are to come
    spikes: F32  # (..., neurons) of 0 and 1


def decay(tau: float, *, dt: float, method: Method, name: str = "tau_mem") -> Decay:
    """How far a quantity falls in a step: exactly, or by a step of Euler's.

        left = exp(-dt / tau), passed = 1 - exp(-dt / tau)         exact
        left = 1 - dt / tau,   passed = dt / tau                   forward Euler

    Args:
        tau: time constant [s].
        dt: length of the step [s].
        name: of the time constant, for the refusal.

    Raises:
        ValueError: dt is not positive, the method is unknown, or Euler's step exceeds tau.
    """
    require_step(dt)
    if method == "exact":
        return Decay(exp(-dt / tau), -expm1(-dt / tau))
    if method != "euler":
        raise ValueError(f"method must be 'exact' or 'euler', got {method!r}")
    if dt > tau:
        raise ValueError(f"Euler's step must not exceed {name} of {tau} s, got dt {dt} s")
    return Decay(1.0 - dt / tau, dt / tau)


def relaxed(v: F32, current: F32, *, left: float, gain: float, v_rest: float) -> F32:
    """A step of tau dv/dt = (v_rest - v) + R i, with gain = R passed.

    Args:
        v: (..., neurons) float32 [V].
        current: (..., neurons) float32 [A].
    """
    rest = np.float32(v_rest)
    return rest + np.float32(left) * (v - rest) + np.float32(gain) * current


def fire(
    u: F32, v: F32, held: I32, params: Spiking, *, dt: float, threshold: F32 | None = None
) -> Fired:
    """Points 2 to 5 of a step.

    Args:
        u: (..., neurons) float32, potentials that the equations lead to [V].
        v: the same, before the step.
        held: (..., neurons) int32, refractory steps that are to come; a single one holds for all.
        threshold: (..., neurons) float32 [V] where it is not the same for all.
    """
    limit = np.float32(params.v_threshold) if threshold is None else threshold
    waiting = held > 0
    spikes = (u > limit) & ~waiting
    moved = np.where(spikes, _after(u, params), u)
    to_come = np.where(
        spikes, np.int32(refractory_steps(params.t_refractory, dt=dt)), np.maximum(held - 1, 0)
    )
    return Fired(np.where(waiting, v, moved), to_come.astype(np.int32), spikes.astype(np.float32))


def _after(u: F32, params: Spiking) -> F32 | np.float32:
    """The potential after a spike."""
    if params.reset == "subtract":
        return u - np.float32(params.v_threshold - params.v_reset)
    return np.float32(0.0 if params.reset == "zero" else params.v_reset)


def refractory_steps(t_refractory: float, *, dt: float) -> int:
    """Whole steps that cover a time [s]."""
    return ceil(t_refractory / dt * (1.0 - ROUNDING))


def ready(shape: tuple[int, ...] = ()) -> I32:
    """No refractory steps to come, for a population of that shape, or for any."""
    return np.zeros(shape, dtype=np.int32)


def require_step(dt: float) -> None:
    """Refuse a step that does not go forward.

    Raises:
        ValueError: dt is not positive and finite.
    """
    if not 0.0 < dt < inf:
        raise ValueError(f"dt must be positive and finite, got {dt} s")


def require_positive(name: str, value: float, unit: str) -> None:
    """Refuse a constant that divides or scales and is zero, negative, infinite or not a number.

    Raises:
        ValueError: names it.
    """
    if not 0.0 < value < inf:
        raise ValueError(f"{name} must be positive and finite, got {value} {unit}")


def require_finite(name: str, value: float, unit: str) -> None:
    """Refuse a constant that is infinite or not a number.

    Raises:
        ValueError: names it.
    """
    if not isfinite(value):
        raise ValueError(f"{name} must be finite, got {value} {unit}")


def require_spiking(params: Spiking) -> None:
    """Refuse a neuron whose spike does not take it below its threshold.

    Raises:
        ValueError: names the value and its limit.
    """
    if params.reset not in ("value", "zero", "subtract"):
        raise ValueError(f"reset must be 'value', 'zero' or 'subtract', got {params.reset!r}")
    require_finite("v_reset", params.v_reset, "V")
    lands = 0.0 if params.reset == "zero" else params.v_reset
    if not params.v_threshold > lands:
        raise ValueError(f"v_threshold must be above the reset {lands} V, got {params.v_threshold}")
    if not 0.0 <= params.t_refractory < inf:
        raise ValueError(f"t_refractory must be 0 s or more, got {params.t_refractory} s")


def require_one_shape(v: F32, current: F32) -> None:
    """Refuse currents that are not one per neuron.

    Raises:
        ValueError: the shapes differ.
    """
    if v.shape != current.shape:
        raise ValueError(f"v {v.shape} and current {current.shape} must have one shape")


def require_current(v: F32, current: F32) -> None:
    """Refuse currents that do not fit a population, or would make it useless for good.

    Args:
        v: (..., neurons).
        current: the same.

    Raises:
        ValueError: they are not float32, the shapes differ, or a current is infinite or not a
            number; tells the first.
    """
    if current.dtype != np.float32:
        raise ValueError(f"currents must be float32, got {current.dtype}")
    require_one_shape(v, current)
    bad = ~np.isfinite(current)
    if bad.any():
        at = tuple(int(one) for one in np.argwhere(bad)[0])
        raise ValueError(f"currents must be finite, got {current[at]} A at {at}")
