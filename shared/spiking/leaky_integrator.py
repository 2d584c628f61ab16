"""The leaky integrator: a membrane without threshold, that is read and never spikes.

    tau dv/dt = -(v - v_rest) + R i

Steps are those of the leaky integrate-and-fire neuron between its spikes, see `lif`.

Source: Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, section 1.3.1.
"""

from dataclasses import dataclass

import numpy as np

from shared.spiking import membrane
from shared.spiking.membrane import Method
from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class LiParams:
    """The membrane in SI units."""

    tau_mem: float  # membrane time constant [s]
    resistance: float  # membrane resistance [ohm]
    v_rest: float  # [V]

    def __post_init__(self) -> None:
        """Refuse a membrane that cannot leak.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("tau_mem", self.tau_mem, "s")
        membrane.require_positive("resistance", self.resistance, "ohm")
        membrane.require_finite("v_rest", self.v_rest, "V")


@dataclass(frozen=True, slots=True, eq=False)
class LiState:
    """What a population remembers."""

    v: F32  # (..., neurons) membrane potential [V]


def at_rest(shape: tuple[int, ...], params: LiParams) -> LiState:
    """A population of the given shape at its resting potential."""
    return LiState(np.full(shape, params.v_rest, dtype=np.float32))


def step(
    state: LiState, current: F32, params: LiParams, *, dt: float, method: Method = "exact"
) -> tuple[LiState, F32]:
    """Advance a population by `dt` [s].

    Args:
        state: (..., neurons).
        current: (..., neurons) float32 [A], constant during the step.

    Returns:
        The next state, and (..., neurons) float32 zeros: it has no spikes.

    Raises:
        ValueError: dt is not positive or too long for Euler, the shapes differ, or a current is
            not finite.
    """
    membrane.require_current(state.v, current)
    left, passed = membrane.decay(params.tau_mem, dt=dt, method=method)
    gain = params.resistance * passed
    v = membrane.relaxed(state.v, current, left=left, gain=gain, v_rest=params.v_rest)
    return LiState(v), np.zeros_like(v)
