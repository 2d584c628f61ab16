"""Neurons against what is known of them: closed formulas, published programs, another solver."""

from dataclasses import replace
from functools import partial
from math import log

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate

from shared.spiking import adaptive_lif, integrate_and_fire, izhikevich, lif, population
from shared.spiking.izhikevich import IzhikevichParams
from shared.spiking.membrane import Method
from shared.tensors.dtypes import F32
from tests.numerics.neurons import ALIF, IF, LIF

F64 = npt.NDArray[np.float64]
AMPERES = np.array([0.21, 0.23, 0.26, 0.3, 0.4, 0.6, 1.0, 1.6], np.float32) * 1e-9
RHEOBASE = 2e-10  # (v_threshold - v_rest) / R: 20 mV over 100 Mohm [A]
# Of figure 2 of Izhikevich 2003, in its own units: a, b, c, d.
STEPS = 80  # of 1 ms; later, float32 and the float64 of the program round fast spikes apart
REGULAR, FAST, CHATTERING = (0.02, 0.2, -65, 8), (0.1, 0.2, -65, 2), (0.02, 0.2, -50, 2)


def held(amperes: F32, steps: int) -> F32:
    """(steps, neurons): constant currents, one neuron for each."""
    return np.broadcast_to(amperes, (steps, len(amperes))).astype(np.float32)


def rates(spikes: F32, dt: float) -> F64:
    """Spikes per second between the first and the last spike of each neuron."""
    times = [np.flatnonzero(column) * dt for column in spikes.T]
    return np.array([(len(at) - 1) / (at[-1] - at[0]) for at in times])


def si(a: float, b: float, c: float, d: float) -> IzhikevichParams:
    """Published constants in SI units."""
    return IzhikevichParams(a=a * 1e3, b=b * 1e3, c=c * 1e-3, d=float(d))


def intervals(params: IzhikevichParams, *, drive: float = 10.0, seconds: float = 0.5) -> F64:
    """Times between the spikes of one neuron under a constant current I of the paper [s]."""
    dt = 1e-4
    current = held(np.float32([drive * params.capacitance]), round(seconds / dt))
    start = izhikevich.after_reset((1,), params)
    spikes = population.run(izhikevich.step, start, current, params, dt=dt).spikes
    return np.diff(np.flatnonzero(spikes)) * dt


@pytest.mark.parametrize("t_refractory", [0.0, 2e-3])
@pytest.mark.parametrize("method", ["exact", "euler"])
def test_the_rate_of_a_leaky_neuron_is_the_closed_formula(
    method: Method, t_refractory: float
) -> None:
    dt, params = 2e-5, replace(LIF, t_refractory=t_refractory)
    start = lif.at_rest(AMPERES.shape, params)

    ran = population.run(
        partial(lif.step, method=method), start, held(AMPERES, 20_000), params, dt=dt
    )

    # 1 / (t_ref + tau ln((RI - (v_reset - v_rest)) / (RI - (v_th - v_rest)))), 16 to 600 Hz
    driven = 1e8 * AMPERES.astype(np.float64)
    closed = 1 / (t_refractory + 0.02 * np.log((driven - 0.005) / (driven - 0.02)))
    np.testing.assert_allclose(rates(ran.spikes, dt), closed, rtol=5e-3)


def test_the_rate_of_a_neuron_that_does_not_leak_is_its_charge_over_that_of_a_spike() -> None:
    dt = 1e-5
    start = integrate_and_fire.after_reset(AMPERES.shape, IF)

    ran = population.run(integrate_and_fire.step, start, held(AMPERES, 40_000), IF, dt=dt)

    # a spike takes C (v_th - v_reset) = 200 pF × 15 mV = 3 pC, and then 2 ms pass
    closed = 1 / (2e-3 + 3e-12 / AMPERES.astype(np.float64))
    np.testing.assert_allclose(rates(ran.spikes, dt), closed, rtol=5e-3)


def test_a_current_just_below_the_rheobase_is_silent_and_one_just_above_is_not() -> None:
    amperes = np.array([0.999, 1.001], np.float32) * np.float32(RHEOBASE)

    ran = population.run(lif.step, lif.at_rest((2,), LIF), held(amperes, 5000), LIF, dt=1e-4)

    assert ran.spikes.sum(axis=0).tolist()[0] == 0
    assert ran.spikes.sum(axis=0).tolist()[1] > 0


def test_an_adapted_neuron_settles_where_rises_and_falls_of_its_threshold_are_even() -> None:
    dt, current = 1e-4, held(np.float32([1e-9]), 30_000)
    start = adaptive_lif.at_rest((1,), ALIF)

    spikes = population.run(adaptive_lif.step, start, current, ALIF, dt=dt).spikes

    # with period T the threshold is a = jump x / (1 - x) higher at a spike, x = exp(-T / 200 ms),
    # and T = 2 ms + 20 ms ln((100 mV - 5 mV) / (100 mV - 20 mV - a)); bisect for T
    low, high = 2e-3, 1.0
    while high - low > 1e-9:
        period = (low + high) / 2
        lifted = 2e-3 / np.expm1(period / 0.2)
        needed = 2e-3 + 0.02 * log(0.095 / (0.08 - lifted)) if lifted < 0.08 else np.inf
        low, high = (period, high) if needed > period else (low, period)
    times = np.flatnonzero(spikes) * dt
    assert times[1] - times[0] < 0.7 * low
    assert np.diff(times)[-10:].mean() == pytest.approx(low, rel=5e-3)


@pytest.mark.parametrize("kind", [REGULAR, FAST, CHATTERING])
def test_steps_of_a_millisecond_are_those_of_the_published_program(
    kind: tuple[float, float, float, float],
) -> None:
    params = si(*kind)
    current = held(np.float32([10 * params.capacitance]), STEPS)
    ran = population.run(
        izhikevich.step, izhikevich.after_reset((1,), params), current, params, dt=1e-3
    )

    a, b, c, d = kind
    v, u, fired = float(c), float(b * c), []
    for _ in range(STEPS):  # in millivolts and milliseconds
        v += 0.5 * (0.04 * v**2 + 5 * v + 140 - u + 10)
        v += 0.5 * (0.04 * v**2 + 5 * v + 140 - u + 10)
        u += a * (b * v - u)
        fired.append(v >= 30)
        v, u = (c, u + d) if fired[-1] else (v, u)
    assert sum(fired) >= 3
    np.testing.assert_array_equal(ran.spikes.ravel(), np.array(fired, np.float32))


def test_regular_spikes_come_when_another_solver_has_them() -> None:
    params, seconds, dt = si(*REGULAR), 0.3, 1e-5
    current = held(np.float32([10 * params.capacitance]), round(seconds / dt))
    start = izhikevich.after_reset((1,), params)

    spikes = population.run(izhikevich.step, start, current, params, dt=dt).spikes

    found, expected = np.flatnonzero(spikes) * dt, solved(params, seconds)
    assert len(found) == len(expected) > 5
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def solved(params: IzhikevichParams, seconds: float) -> list[float]:
    """Times of spikes under I = 10 by scipy's LSODA, in float64 [s]."""

    def slope(_: float, at: F64) -> list[float]:
        v, u = at
        return [4e4 * v * v + 5e3 * v + 140 - u + 10, params.a * (params.b * v - u)]

    def peak(_: float, at: F64) -> float:
        return float(at[0] - params.v_peak)

    peak.terminal, peak.direction = True, 1  # type: ignore[attr-defined]  # how scipy is told
    now, at, times = 0.0, [params.c, params.b * params.c], []
    while True:
        ran = integrate.solve_ivp(
            slope, (now, seconds), at, "LSODA", events=peak, rtol=1e-8, atol=1e-9
        )
        if not ran.t_events[0].size:
            return times
        now = float(ran.t_events[0][0])
        times.append(now)
        at = [params.c, float(ran.y_events[0][0][1]) + params.d]


def test_kinds_of_cortical_neurons_spike_as_they_are_described() -> None:
    regular, fast, chattering = (intervals(si(*k)) for k in (REGULAR, FAST, CHATTERING))

    # regular spiking slows down, fast spiking hardly does and is faster, chattering has bursts
    assert regular[-1] > 1.5 * regular[0]
    assert fast[2:].max() < 1.1 * fast[2:].min()
    assert fast.mean() < regular.mean() / 2
    assert chattering.max() > 5 * np.median(chattering)
