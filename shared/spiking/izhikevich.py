"""Izhikevich's simple model: two equations that spike, burst and adapt in many ways.

    dv/dt = 4e4 v² + 5e3 v + 140 - u + i / C                       [V/s], v in volts
    du/dt = a (b v - u)
    where v > v_peak:   v = c,   u = u + d                         strictly above

These are the published equations in SI units: 0.04 v² + 5 v + 140 in millivolts per millisecond
is 4e4 v² + 5e3 v + 140 in volts per second, and their I is i / C. So 0.02, 0.2, -65 and 8 are
a = 20 /s, b = 200 /s, c = -0.065 V and d = 8 V/s, and with C = 100 pF their I of 10 is 1 nA.

The first equation has no closed solution. A step is that of the published program: two half steps
of forward Euler for v, one whole step for u with the v that they lead to, then the comparison. It
must not exceed 1 ms, which is what the program takes, nor 1 / a. The recovery u takes the part of
a refractory period. Published is v >= 30 mV where this has v > v_peak.

Source: Izhikevich 2003, "Simple model of spiking neurons", eqs. 1 to 3, figure 2, and the program.
"""

from dataclasses import dataclass

import numpy as np

from shared.spiking import membrane
from shared.tensors.dtypes import F32

SQUARE, LINEAR, CONSTANT = 4e4, 5e3, 140.0  # [1/(V s)], [1/s], [V/s]
LONGEST = 1e-3  # step of the published program [s]


@dataclass(frozen=True, slots=True)
class IzhikevichParams:
    """The model in SI units; as it stands, a regular spiking neuron of the cortex."""

    a: float = 20.0  # how fast the recovery follows [1/s]
    b: float = 200.0  # how much of the potential it follows [1/s]
    c: float = -0.065  # potential after a spike [V]
    d: float = 8.0  # what a spike adds to the recovery [V/s]
    capacitance: float = 1e-10  # [F]
    v_peak: float = 0.03  # potential that is a spike [V]

    def __post_init__(self) -> None:
        """Refuse what cannot recover, or what a spike does not reset.

        Raises:
            ValueError: names the value and its limit.
        """
        membrane.require_positive("a", self.a, "1/s")
        membrane.require_positive("capacitance", self.capacitance, "F")
        for name, unit in (("b", "1/s"), ("c", "V"), ("d", "V/s"), ("v_peak", "V")):
            membrane.require_finite(name, getattr(self, name), unit)
        if not self.v_peak > self.c:
            raise ValueError(f"v_peak must be above c of {self.c} V, got {self.v_peak} V")


@dataclass(frozen=True, slots=True, eq=False)
class IzhikevichState:
    """What a population remembers."""

    v: F32  # (..., neurons) membrane potential [V]
    u: F32  # (..., neurons) recovery [V/s]


def after_reset(shape: tuple[int, ...], params: IzhikevichParams) -> IzhikevichState:
    """A population of the given shape as the published program begins: v = c, u = b c."""
    v = np.full(shape, params.c, dtype=np.float32)
    return IzhikevichState(v, np.float32(params.b) * v)


def step(
    state: IzhikevichState, current: F32, params: IzhikevichParams, *, dt: float
) -> tuple[IzhikevichState, F32]:
    """Advance a population by `dt` [s].

    Args:
        state: (..., neurons).
        current: (..., neurons) float32 [A], constant during the step.

    Returns:
        The next state, and (..., neurons) float32 spikes of 0 and 1.

    Raises:
        ValueError: dt is not positive or too long, the shapes differ, or a current is not finite.
    """
    _require_short(dt, params)
    membrane.require_current(state.v, current)
    drive = np.float32(CONSTANT) - state.u + current / np.float32(params.capacitance)
    v = _half_step(_half_step(state.v, drive, dt), drive, dt)
    u = state.u + np.float32(dt * params.a) * (np.float32(params.b) * v - state.u)
    spikes = v > np.float32(params.v_peak)
    after = np.where(spikes, np.float32(params.c), v)
    raised = u + np.float32(params.d) * spikes
    return IzhikevichState(after, raised.astype(np.float32)), spikes.astype(np.float32)


def _half_step(v: F32, drive: F32, dt: float) -> F32:
    slope = (np.float32(SQUARE) * v + np.float32(LINEAR)) * v + drive
    return v + np.float32(dt / 2.0) * slope


def _require_short(dt: float, params: IzhikevichParams) -> None:
    membrane.require_step(dt)
    longest = min(LONGEST, 1.0 / params.a)
    if dt > longest:
        raise ValueError(f"a step must not exceed {longest} s here, got dt {dt} s")
