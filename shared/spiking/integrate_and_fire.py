"""The integrate-and-fire neuron that does not leak.

    C dv/dt = i                                                    between spikes
    u = v + (dt / C) i                                             one step

The step is exact for a current that is constant during it, and it is also forward Euler's. Spikes,
resets and refractoriness: see `membrane`.

Source: Lapicque 1907; Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, section 1.3,
without its leak.
"""

from dataclasses import dataclass

import numpy as np

from shared.spiking import membrane
from shared.spiking.membrane import Reset
from shared.tensors.dtypes import F32, I32


@dataclass(frozen=True, slots=True)
class IfParams:
    """The membrane in SI units."""

    capacitance: float  # [F]
    v_threshold: float  # [V]
    v_reset: float  # [V]
    reset: Reset = "value"
    t_refractory: float = 0.0  # [s]

    def __post_init__(self) -> None:
        """Refuse a membrane that cannot charge, or that a spike does not reset.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("capacitance", self.capacitance, "F")
        membrane.require_spiking(self)


@dataclass(frozen=True, slots=True, eq=False)
class IfState:
    """What a population remembers."""

    v: F32  # (..., neurons) membrane potential [V]
    held: I32  # (..., neurons) refractory steps to come


def after_reset(shape: tuple[int, ...], params: IfParams) -> IfState:
    """A population of the given shape at its reset potential: without leak, none is at rest."""
    return IfState(np.full(shape, params.v_reset, dtype=np.float32), membrane.ready(shape))


def step(state: IfState, current: F32, params: IfParams, *, dt: float) -> tuple[IfState, F32]:
    """Advance a population by `dt` [s].

    Args:
        state: (..., neurons).
        current: (..., neurons) float32 [A], constant during the step.

    Returns:
        The next state, and (..., neurons) float32 spikes of 0 and 1.

    Raises:
        ValueError: dt is not positive, the shapes differ, or a current is not finite.
    """
    membrane.require_step(dt)
    membrane.require_current(state.v, current)
    u = state.v + np.float32(dt / params.capacitance) * current
    v, held, spikes = membrane.fire(u, state.v, state.held, params, dt=dt)
    return IfState(v, held), spikes
