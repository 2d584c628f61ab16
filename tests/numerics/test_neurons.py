"""Models of neurons on traces short enough for a pencil, and what holds of all of them."""

from dataclasses import replace
from functools import partial
from math import exp, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.spiking import (
    adaptive_lif,
    cuba_lif,
    integrate_and_fire,
    izhikevich,
    layers,
    leaky_integrator,
    lif,
    membrane,
    population,
)
from shared.spiking.adaptive_lif import AlifParams
from shared.spiking.cuba_lif import CubaParams
from shared.spiking.integrate_and_fire import IfParams
from shared.spiking.izhikevich import IzhikevichParams, IzhikevichState
from shared.spiking.leaky_integrator import LiParams
from shared.spiking.lif import LifParams, LifStep
from shared.spiking.membrane import Reset
from shared.tensors.dtypes import F32
from tests.numerics import neurons

HALF = log(2.0)  # a step of tau log 2 halves what decays
CURRENT = st.floats(-1e-9, 1e-9)


def trace(*values: float) -> F32:
    """(steps, 1 neuron)."""
    return np.array(values, np.float32)[:, np.newaxis]


def of_one_volt(reset: Reset, t_refractory: float = 0.0, v_reset: float = 0.0) -> IfParams:
    """1 F and steps of 1 s: a current of 1 A is 1 V more."""
    return IfParams(1.0, v_threshold=1.0, v_reset=v_reset, reset=reset, t_refractory=t_refractory)


def integrate(params: IfParams, *amperes: float) -> tuple[list[float], list[float]]:
    """Potentials and spikes of one neuron that does not leak."""
    start = integrate_and_fire.after_reset((1,), params)
    ran = population.run(integrate_and_fire.step, start, trace(*amperes), params, dt=1.0)
    return ran.v.ravel().tolist(), ran.spikes.ravel().tolist()


# Resets and refractoriness


def test_a_reset_to_a_value_forgets_what_was_above_the_threshold() -> None:
    # 0.25 + 0.75 = 1 is not above 1; 1.75 is: spike, back to 0.25
    v, spikes = integrate(of_one_volt("value", v_reset=0.25), 0.75, 0.75, 0.5)

    assert v == [1.0, 0.25, 0.75]
    assert spikes == [0, 1, 0]


def test_a_reset_to_zero_does_not_ask_for_the_reset_potential() -> None:
    v, spikes = integrate(of_one_volt("zero", v_reset=0.25), 0.75, 0.75, 0.5)

    assert v == [1.0, 0.0, 0.5]
    assert spikes == [0, 1, 0]


def test_a_reset_by_subtraction_takes_the_way_from_threshold_to_reset() -> None:
    # 0.25 + 2 = 2.25: spike, - 0.75 = 1.5; still above 1: spike, 0.75; 0.75 stays
    v, spikes = integrate(of_one_volt("subtract", v_reset=0.25), 2.0, 0.0, 0.0)

    assert v == [1.5, 0.75, 0.75]
    assert spikes == [1, 1, 0]


def test_a_refractory_neuron_keeps_its_potential_and_hears_nothing() -> None:
    # two refractory steps of 1 s after the spike of 1.5 V; then 0.75, 1.5: spike
    v, spikes = integrate(of_one_volt("value", t_refractory=2.0), 1.5, 9.0, 9.0, 0.75, 0.75)

    assert v == [0.0, 0.0, 0.0, 0.75, 0.0]
    assert spikes == [1, 0, 0, 0, 1]


def test_what_subtraction_leaves_above_the_threshold_waits_until_it_may_spike() -> None:
    # 3.5 - 1 = 2.5, held for a step, spike: 1.5, held, spike: 0.5
    v, spikes = integrate(of_one_volt("subtract", t_refractory=1.0), 3.5, 0.0, 0.0, 0.0, 0.0)

    assert v == [2.5, 2.5, 1.5, 1.5, 0.5]
    assert spikes == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("t_refractory", "dt", "steps"),
    [(0.0, 1e-3, 0), (2e-3, 1e-3, 2), (2.1e-3, 1e-3, 3), (0.9, 0.3, 3), (1e-9, 1e-3, 1)],
)
def test_refractory_steps_cover_the_time_and_no_more(
    t_refractory: float, dt: float, steps: int
) -> None:
    assert membrane.refractory_steps(t_refractory, dt=dt) == steps


# Models


def test_euler_takes_the_slope_of_the_beginning_of_a_step() -> None:
    params = LifParams(1.0, 2.0, v_rest=0.0, v_threshold=9.0, v_reset=0.0)
    step = partial(lif.step, method="euler")

    ran = population.run(step, lif.at_rest((1,), params), trace(1, 1, 0), params, dt=0.25)

    # v + 0.25 (2 i - v): 0.5; 0.5 + 0.25·1.5 = 0.875; 0.875 - 0.21875
    assert ran.v.ravel().tolist() == [0.5, 0.875, 0.65625]


def test_a_leaky_integrator_goes_where_its_current_leads_and_never_spikes() -> None:
    params = LiParams(tau_mem=1.0, resistance=2.0, v_rest=1.0)

    start = leaky_integrator.at_rest((1,), params)
    ran = population.run(leaky_integrator.step, start, trace(2, 2, 0), params, dt=HALF)

    # towards 1 + 2·2 = 5: half of 4, half of the rest; then half the way back to 1
    np.testing.assert_allclose(ran.v.ravel(), [3.0, 4.0, 2.5], rtol=1e-6)
    assert not ran.spikes.any()


def test_a_synapse_filters_what_arrives_and_the_membrane_follows_its_current() -> None:
    params = CubaParams(1.0, 1.0, 4.0, v_rest=0.0, v_threshold=9.0, v_reset=0.0)

    ran = population.run(
        cuba_lif.step, cuba_lif.at_rest((1,), params), trace(1, 0), params, dt=HALF
    )

    # both time constants are 1 s: k = ln 2 / 2, and the current that 1 A leaves is a half
    k = HALF / 2
    first = 4 * (1 - 0.5 - k)
    np.testing.assert_allclose(ran.v.ravel(), [first, first / 2 + 4 * k * 0.5], rtol=1e-6)
    np.testing.assert_allclose(ran.state.i, [0.25], rtol=1e-6)


@given(st.floats(1e-3, 0.1), st.floats(1e-3, 0.1), CURRENT)
def test_two_half_steps_of_synapse_and_membrane_are_a_whole_one(
    tau_syn: float, tau_mem: float, current: float
) -> None:
    params = replace(neurons.CUBA, tau_syn=tau_syn, tau_mem=tau_mem, v_threshold=np.inf)
    start = cuba_lif.at_rest((1,), params)

    whole = population.run(cuba_lif.step, start, trace(current), params, dt=4e-3)
    halves = population.run(cuba_lif.step, start, trace(current, current), params, dt=2e-3)

    np.testing.assert_allclose(halves.v[-1], whole.v[-1], rtol=1e-5)
    np.testing.assert_allclose(halves.state.i, whole.state.i, rtol=1e-5, atol=1e-16)


def test_filtered_layers_of_a_network_solve_the_same_equations() -> None:
    params = CubaParams(5e-3, 20e-3, 1.0, v_rest=0.0, v_threshold=1.0, v_reset=0.0)
    taken = cuba_lif.discretize(params, dt=1e-3)
    come = 1.0 - taken.left_syn  # of what arrives in a step, into the current
    layer = layers.Layer(
        taken.left_mem, synapse=taken.left_syn, couple=taken.couple, direct=taken.direct / come
    )
    arrived = np.random.default_rng(1).integers(0, 400, (100, 8)).astype(np.float32) / 64

    ours = population.run(cuba_lif.step, cuba_lif.at_rest((8,), params), arrived, params, dt=1e-3)
    codes = np.rint(arrived * come * 2.0**16).astype(np.int32)[np.newaxis]
    theirs = layers.run(codes, np.zeros((1, 8), np.float32), layer)

    assert 20 < ours.spikes.sum() == theirs.spikes.sum()
    np.testing.assert_array_equal(ours.spikes, theirs.spikes[0])
    np.testing.assert_allclose(ours.v[-1], theirs.v[0], atol=1e-3)


def test_every_spike_lifts_the_threshold_that_falls_between_them() -> None:
    params = AlifParams(1.0, 1.0, 0.0, 1.0, 0.0, tau_adapt=1.0, jump=2.0)

    start = adaptive_lif.at_rest((1,), params)
    ran = population.run(adaptive_lif.step, start, trace(3, 3, 4, 4), params, dt=HALF)

    # 1.5 > 1: spike, a = 2. 1.5 < 1 + 1. Halfway from 1.5 to 4: 2.75 > 1.5: spike, a = 2.5;
    # 2 < 1 + 1.25
    np.testing.assert_allclose(ran.v.ravel(), [0.0, 1.5, 0.0, 2.0], rtol=1e-6)
    assert ran.spikes.ravel().tolist() == [1, 0, 1, 0]
    np.testing.assert_allclose(ran.state.a, [1.25], rtol=1e-6)


def test_an_adaptive_neuron_compares_as_the_discrete_equations_of_bellec() -> None:
    rho, alpha, beta, size = exp(-1 / 50), exp(-1 / 20), 0.25, 16
    params = AlifParams(20.0, 1.0, 0.0, 1.0, 0.0, 50.0, beta / rho, reset="subtract")
    drive = np.random.default_rng(2).uniform(0, 3, (300, size)).astype(np.float32)

    start = adaptive_lif.at_rest((size,), params)
    ran = population.run(adaptive_lif.step, start, drive, params, dt=1.0)

    v, a, z = np.zeros(size), np.zeros(size), np.zeros(size)
    expected = []
    for arrived in drive:  # v = αv + I - z v_th, z = H(v - v_th - βa), a = ρa + z
        a = rho * a + z
        v = alpha * v + (1 - alpha) * arrived - z * alpha
        z = (v > 1 + beta * a).astype(float)
        expected.append(z)
    assert ran.spikes.sum() > 100
    np.testing.assert_array_equal(ran.spikes, expected)


@pytest.mark.parametrize("model", [lif, cuba_lif, adaptive_lif])
def test_errors_of_euler_halve_with_its_step(model: Any) -> None:
    params = {lif: neurons.LIF, cuba_lif: neurons.CUBA, adaptive_lif: neurons.ALIF}[model]
    quiet = replace(params, v_threshold=1.0)
    ends = {}

    for method, dt in (("exact", 1e-3), ("euler", 1e-3), ("euler", 5e-4)):
        current = np.full((round(0.02 / dt), 1), 1e-9, np.float32)
        step = partial(model.step, method=method)
        ran = population.run(step, model.at_rest((1,), quiet), current, quiet, dt=dt)
        ends[method, dt] = float(ran.v[-1, 0])

    true = ends["exact", 1e-3]
    assert true - ends["euler", 5e-4] == pytest.approx((true - ends["euler", 1e-3]) / 2, rel=0.1)
    assert abs(true - ends["euler", 1e-3]) > 1e-4


def test_synapses_and_thresholds_go_on_while_a_neuron_is_refractory() -> None:
    synapse = CubaParams(1.0, 1.0, 1.0, 0.0, 1.0, 0.0, t_refractory=9.0)
    adaptive = AlifParams(1.0, 1.0, 0.0, 1.0, 0.0, tau_adapt=1.0, jump=1.0, t_refractory=9.0)
    arrived = trace(16, 0, 0)

    cuba = population.run(cuba_lif.step, cuba_lif.at_rest((1,), synapse), arrived, synapse, dt=HALF)
    alif = population.run(
        adaptive_lif.step, adaptive_lif.at_rest((1,), adaptive), arrived, adaptive, dt=HALF
    )

    # both spike at once; then 8 A and a jump of 1 V are halved twice
    assert cuba.spikes.ravel().tolist() == alif.spikes.ravel().tolist() == [1, 0, 0]
    assert not cuba.v.any()  # held at the reset of 0 V
    assert not alif.v.any()
    np.testing.assert_allclose(cuba.state.i, [2.0], rtol=1e-6)
    np.testing.assert_allclose(alif.state.a, [0.25], rtol=1e-6)


def test_at_minus_70_millivolts_a_regular_spiking_neuron_is_at_rest() -> None:
    start = IzhikevichState(np.full(1, -0.07, np.float32), np.full(1, -14.0, np.float32))

    after, spikes = izhikevich.step(start, np.zeros(1, np.float32), IzhikevichParams(), dt=1e-3)

    # 4e4·0.0049 - 5e3·0.07 + 140 + 14 = 196 - 350 + 154 = 0, and u = 200·(-0.07) = -14
    np.testing.assert_allclose(after.v, start.v, rtol=1e-6)
    np.testing.assert_allclose(after.u, start.u, rtol=1e-6)
    assert spikes[0] == 0


@given(st.integers(0, 2**31))
def test_the_operators_step_is_single_operations_in_the_written_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v, current = rng.standard_normal((2, 5)).astype(np.float32)
    params = LifStep(*(float(np.float32(x)) for x in rng.uniform(0, 1, 5)))

    after, spikes = lif.advance(v, current, params)

    decay, gain, rest, threshold, reset = (np.float32(x) for x in (
        params.decay, params.gain, params.v_rest, params.v_threshold, params.v_reset
    ))  # fmt: skip
    for at in range(5):
        u = (rest + decay * (v[at] - rest)) + gain * current[at]
        assert spikes[at] == (u > threshold)
        assert after[at] == (reset if u > threshold else u)
