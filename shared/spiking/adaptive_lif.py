"""The leaky integrate-and-fire neuron whose threshold rises with every spike, and falls again.

    tau_mem   dv/dt = -(v - v_rest) + R i                          between spikes
    tau_adapt da/dt = -a,     a = a + jump at a spike
    spike  = u > v_threshold + a                                   strictly

In a step v and a first move by their equations, then u is held to the threshold as it now is, and
at last a spike lifts it. A reset by subtraction takes v_threshold - v_reset, without a. With a
jump of beta / exp(-dt / tau_adapt) the comparisons are those of Bellec et al. 2020, whose a does
not decay in the step in which it takes its jump. Resets and refractoriness: see `membrane`.

Sources: Bellec et al. 2018, "Long short-term memory and learning-to-learn in networks of spiking
neurons", section 2; Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks
of spiking neurons", Methods (adaptive threshold).
"""

from dataclasses import dataclass

import numpy as np

from shared.spiking import membrane
from shared.spiking.membrane import Method, Reset
from shared.tensors.dtypes import F32, I32


@dataclass(frozen=True, slots=True)
class AlifParams:
    """Membrane and threshold in SI units."""

    tau_mem: float  # membrane time constant [s]
    resistance: float  # membrane resistance [ohm]
    v_rest: float  # [V]
    v_threshold: float  # without adaptation [V]
    v_reset: float  # [V]
    tau_adapt: float  # time constant of the adaptation [s]
    jump: float  # by which a spike lifts the threshold [V]
    reset: Reset = "value"
    t_refractory: float = 0.0  # [s]

    def __post_init__(self) -> None:
        """Refuse what cannot decay, a threshold that falls, or one that a spike does not reset.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("tau_mem", self.tau_mem, "s")
        membrane.require_positive("resistance", self.resistance, "ohm")
        membrane.require_positive("tau_adapt", self.tau_adapt, "s")
        membrane.require_positive("jump", self.jump, "V")
        membrane.require_finite("v_rest", self.v_rest, "V")
        membrane.require_spiking(self)


@dataclass(frozen=True, slots=True, eq=False)
class AlifState:
    """What a population remembers."""

    v: F32  # (..., neurons) membrane potential [V]
    a: F32  # (..., neurons) what its threshold is above v_threshold [V]
    held: I32  # (..., neurons) refractory steps to come


def at_rest(shape: tuple[int, ...], params: AlifParams) -> AlifState:
    """A population of the given shape at its resting potential that has not spiked for long."""
    v = np.full(shape, params.v_rest, dtype=np.float32)
    return AlifState(v, np.zeros_like(v), membrane.ready(shape))


def step(
    state: AlifState, current: F32, params: AlifParams, *, dt: float, method: Method = "exact"
) -> tuple[AlifState, F32]:
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
    mem = membrane.decay(params.tau_mem, dt=dt, method=method)
    fallen = membrane.decay(params.tau_adapt, dt=dt, method=method, name="tau_adapt")
    gain = params.resistance * mem.passed
    u = membrane.relaxed(state.v, current, left=mem.left, gain=gain, v_rest=params.v_rest)
    a = np.float32(fallen.left) * state.a
    threshold = np.float32(params.v_threshold) + a
    v, held, spikes = membrane.fire(u, state.v, state.held, params, dt=dt, threshold=threshold)
    return AlifState(v, a + np.float32(params.jump) * spikes, held), spikes
