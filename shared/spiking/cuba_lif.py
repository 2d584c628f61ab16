"""The leaky integrate-and-fire neuron with current-based, exponential synapses.

    tau_syn di/dt = -i + x                                         x: what arrives
    tau_mem dv/dt = -(v - v_rest) + R i                            between spikes

A spike of charge q that arrives within a step is x = q / dt during it. For an x that is constant
over the step, with a = exp(-dt / tau_syn) and b = exp(-dt / tau_mem), both are solved together by

    u      = v_rest + b (v - v_rest) + R (k i + (1 - b - k) x)
    i_next = a i + (1 - a) x
    k      = tau_syn (a - b) / (tau_syn - tau_mem), or b dt / tau_mem where both are the same

and forward Euler has a = 1 - dt / tau_syn, b = 1 - dt / tau_mem, k = dt / tau_mem. Spikes, resets
and refractoriness: see `membrane`.

Sources: Rotter and Diesmann 1999, "Exact digital simulation of time-invariant linear systems with
applications to neuronal modeling"; the equations: Pedersen et al. 2024, "Neuromorphic
intermediate representation", CubaLIF.
"""

from dataclasses import dataclass
from math import exp, expm1

import numpy as np

from shared.spiking import membrane
from shared.spiking.membrane import Method, Reset
from shared.tensors.dtypes import F32, I32


@dataclass(frozen=True, slots=True)
class CubaParams:
    """Synapse and membrane in SI units."""

    tau_syn: float  # time constant of the synaptic current [s]
    tau_mem: float  # membrane time constant [s]
    resistance: float  # membrane resistance [ohm]
    v_rest: float  # [V]
    v_threshold: float  # [V]
    v_reset: float  # [V]
    reset: Reset = "value"
    t_refractory: float = 0.0  # [s]

    def __post_init__(self) -> None:
        """Refuse what cannot decay, or what a spike does not reset.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("tau_syn", self.tau_syn, "s")
        membrane.require_positive("tau_mem", self.tau_mem, "s")
        membrane.require_positive("resistance", self.resistance, "ohm")
        membrane.require_finite("v_rest", self.v_rest, "V")
        membrane.require_spiking(self)


@dataclass(frozen=True, slots=True)
class CubaStep:
    """Both equations for one step length, as the formulas above name them."""

    left_syn: float  # a
    left_mem: float  # b
    couple: float  # R k, [V] per unit of the current at the beginning of a step
    direct: float  # R (1 - b - k), [V] per unit of what arrives in it


@dataclass(frozen=True, slots=True, eq=False)
class CubaState:
    """What a population remembers."""

    v: F32  # (..., neurons) membrane potential [V]
    i: F32  # (..., neurons) synaptic current [A]
    held: I32  # (..., neurons) refractory steps to come


def at_rest(shape: tuple[int, ...], params: CubaParams) -> CubaState:
    """A population of the given shape at its resting potential, without current."""
    v = np.full(shape, params.v_rest, dtype=np.float32)
    return CubaState(v, np.zeros_like(v), membrane.ready(shape))


def coupling(tau_mem: float, tau_syn: float, *, dt: float) -> float:
    """k: what a current that decays during a step adds, per R and unit of it at the beginning.

    Written without the difference of two numbers that are close where the time constants are.
    """
    apart = dt / tau_mem - dt / tau_syn
    share = dt / tau_mem * exp(-dt / tau_mem)
    return share if apart == 0.0 else share * expm1(apart) / apart


def discretize(params: CubaParams, *, dt: float, method: Method = "exact") -> CubaStep:
    """The step of length `dt` [s] for what arrives evenly during it.

    Raises:
        ValueError: dt is not positive, or exceeds a time constant under Euler.
    """
    mem = membrane.decay(params.tau_mem, dt=dt, method=method)
    syn = membrane.decay(params.tau_syn, dt=dt, method=method, name="tau_syn")
    exact = method == "exact"
    k = coupling(params.tau_mem, params.tau_syn, dt=dt) if exact else mem.passed
    return CubaStep(syn.left, mem.left, params.resistance * k, params.resistance * (mem.passed - k))


def step(
    state: CubaState, arrived: F32, params: CubaParams, *, dt: float, method: Method = "exact"
) -> tuple[CubaState, F32]:
    """Advance a population by `dt` [s].

    Args:
        state: (..., neurons).
        arrived: (..., neurons) float32 [A], x above, constant during the step.

    Returns:
        The next state, and (..., neurons) float32 spikes of 0 and 1.

    Raises:
        ValueError: dt is not positive or too long for Euler, the shapes differ, or what arrives is
            not finite.
    """
    membrane.require_current(state.v, arrived)
    taken = discretize(params, dt=dt, method=method)
    driven = np.float32(taken.couple) * state.i + np.float32(taken.direct) * arrived
    u = membrane.relaxed(state.v, driven, left=taken.left_mem, gain=1.0, v_rest=params.v_rest)
    left = np.float32(taken.left_syn)
    i = left * state.i + (np.float32(1.0) - left) * arrived
    v, held, spikes = membrane.fire(u, state.v, state.held, params, dt=dt)
    return CubaState(v, i, held), spikes
