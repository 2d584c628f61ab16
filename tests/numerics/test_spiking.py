"""Neurons, synapses and codes on traces short enough to follow with a pencil."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.spiking import coding, lif, stdp
from shared.spiking.lif import LifParams, LifState, LifStep
from shared.spiking.stdp import StdpParams, StdpState
from shared.tensors.dtypes import F32

MEMBRANE = LifParams(tau_mem=0.02, resistance=1e7, v_rest=-0.07, v_threshold=-0.05, v_reset=-0.065)
RATES = arrays.arrays(np.float32, st.integers(0, 5), elements=st.floats(0, 1000, width=32))


def f32(*values: float) -> F32:
    return np.array(values, dtype=np.float32)


# Neurons


def test_constant_current_charges_until_it_spikes_and_starts_again() -> None:
    step = LifStep(decay=0.5, gain=1.0, v_rest=0.0, v_threshold=1.0, v_reset=0.0)
    v, potentials, spikes = f32(0.0), [], []

    for _ in range(6):
        v, fired = lif.advance(v, f32(0.75), step)
        potentials.append(float(v[0]))
        spikes.append(int(fired[0]))

    # 0.75; 0.375 + 0.75 = 1.125 > 1: spike, back to 0; and again
    assert potentials == [0.75, 0.0, 0.75, 0.0, 0.75, 0.0]
    assert spikes == [0, 1, 0, 1, 0, 1]


def test_without_current_the_potential_halves_its_way_to_rest_in_tau_log_two() -> None:
    state = LifState(f32(-0.05))

    after, spikes = lif.step(state, f32(0.0), MEMBRANE, dt=MEMBRANE.tau_mem * log(2.0))

    # from 20 mV above rest to 10 mV above rest; -50 mV itself is not above the threshold
    np.testing.assert_allclose(after.v, -0.06, rtol=1e-6)
    assert spikes[0] == 0


def test_constant_current_ends_at_rest_plus_resistance_times_current() -> None:
    after, _ = lif.step(lif.at_rest((1,), MEMBRANE), f32(1e-9), MEMBRANE, dt=1.0)

    np.testing.assert_allclose(after.v, -0.07 + 1e7 * 1e-9, rtol=1e-6)  # 50 time constants later


@given(st.floats(1e-4, 1e-2), st.floats(-1e-9, 1e-9))
def test_two_half_steps_are_one_whole_step(dt: float, current: float) -> None:
    start, amps = lif.at_rest((1,), MEMBRANE), f32(current)

    whole, _ = lif.step(start, amps, MEMBRANE, dt=dt)
    halfway, _ = lif.step(start, amps, MEMBRANE, dt=dt / 2)
    halves, _ = lif.step(halfway, amps, MEMBRANE, dt=dt / 2)

    np.testing.assert_allclose(halves.v, whole.v, rtol=2e-6)


def test_a_spike_resets_and_leaves_the_argument_alone() -> None:
    state = LifState(f32(-0.04))

    after, spikes = lif.step(state, f32(0.0), MEMBRANE, dt=1e-6)

    assert after.v.tolist() == f32(MEMBRANE.v_reset).tolist()
    assert spikes.tolist() == [1.0]
    assert state.v.tolist() == f32(-0.04).tolist()


def test_a_potential_that_is_not_a_number_stays_so_in_silence() -> None:
    after, spikes = lif.step(LifState(f32(np.nan)), f32(0.0), MEMBRANE, dt=1e-3)

    assert np.isnan(after.v[0])
    assert spikes[0] == 0


def test_neurons_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tau_mem must be positive and finite, got 0.0 s"):
        LifParams(0.0, 1.0, 0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"dt must be positive and finite, got 0.0 s"):
        lif.discretize(MEMBRANE, dt=0.0)
    with pytest.raises(ValueError, match=r"v \(2,\) and current \(1,\)"):
        lif.advance(f32(0, 0), f32(0), lif.discretize(MEMBRANE, dt=1e-3))


# Synapses

WINDOW = StdpParams(a_plus=0.25, a_minus=0.125, tau_plus=0.02, tau_minus=0.04)


def after_pair(pre_at: int, post_at: int) -> float:
    """The weight after one pre and one post spike at the given steps of 1 ms, from 0.5."""
    state = StdpState(f32(0.5)[:, None], f32(0.0), f32(0.0))
    for now in range(max(pre_at, post_at) + 1):
        pre, post = f32(float(now == pre_at)), f32(float(now == post_at))
        state = stdp.step(state, pre, post, WINDOW, dt=1e-3)
    return float(state.weight[0, 0])


@pytest.mark.parametrize("delay", [1, 7, 30])
def test_pre_before_post_gains_by_the_window(delay: int) -> None:
    gained = 0.25 * exp(-delay * 1e-3 / 0.02)

    assert after_pair(2, 2 + delay) == pytest.approx(0.5 + gained, rel=1e-6)


@pytest.mark.parametrize("delay", [1, 7, 30])
def test_post_before_pre_loses_by_the_window(delay: int) -> None:
    lost = 0.125 * exp(-delay * 1e-3 / 0.04)

    assert after_pair(2 + delay, 2) == pytest.approx(0.5 - lost, rel=1e-6)


def test_spikes_of_one_step_do_not_pair() -> None:
    assert after_pair(3, 3) == 0.5


def test_weights_stay_within_their_bounds() -> None:
    state = StdpState(f32(0.9, 0.1)[None, :], f32(1.0, 0.0), f32(9.0))

    after = stdp.step(state, f32(0.0, 1.0), f32(1.0), WINDOW, dt=1e-6)

    # 0.9 + 0.25 is above 1; 0.1 - 0.125·9 is below 0
    np.testing.assert_allclose(after.weight, [[1.0, 0.0]])


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 99))
def test_silence_changes_no_weight(post: int, pre: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = StdpState(
        rng.random((post, pre), np.float32), rng.random(pre, np.float32), np.ones(post, np.float32)
    )
    silence = np.zeros(pre, np.float32), np.zeros(post, np.float32)

    after = stdp.step(state, *silence, WINDOW, dt=1e-3)

    np.testing.assert_array_equal(after.weight, state.weight)
    assert (after.post_trace < state.post_trace).all()


def test_rules_that_cannot_be_are_refused() -> None:
    state = StdpState(np.zeros((2, 3), np.float32), f32(0, 0, 0), f32(0, 0))

    with pytest.raises(ValueError, match="tau_minus must be positive and finite, got -1"):
        StdpParams(0.1, 0.1, 0.02, -1.0)
    with pytest.raises(ValueError, match=r"w_min 2.0 exceeds w_max 1.0"):
        StdpParams(0.1, 0.1, 0.02, 0.02, w_min=2.0)
    with pytest.raises(ValueError, match="dt must be positive"):
        stdp.discretize(WINDOW, dt=-1.0)
    with pytest.raises(ValueError, match=r"post_spikes must be \(2,\) for weight \(2, 3\)"):
        stdp.step(state, f32(0, 0, 0), f32(0), WINDOW, dt=1e-3)


# Codes


def test_a_regular_train_spikes_whenever_another_whole_spike_is_due() -> None:
    train = coding.regular(f32(0, 250, 400, 1000), steps=5, dt=1e-3)

    # r t after each step: 0.25, 0.5, 0.75, 1, 1.25; and 0.4, 0.8, 1.2, 1.6, 2.0
    assert train.T.tolist() == [[0] * 5, [0, 0, 0, 1, 0], [0, 0, 1, 0, 1], [1] * 5]


@given(RATES, st.integers(0, 200))
def test_a_regular_train_has_the_spikes_that_its_rate_promises(rate: F32, steps: int) -> None:
    train = coding.regular(rate, steps=steps, dt=1e-3)

    promised = np.floor(steps * (rate.astype(np.float64) * 1e-3))
    np.testing.assert_array_equal(coding.count(train), promised)


@given(RATES, st.integers(0, 50), st.integers(0, 99))
def test_trains_hold_only_zeros_and_ones(rate: F32, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)

    train = coding.poisson(rate, steps=steps, dt=1e-3, rng=rng)

    assert train.shape == (steps, *rate.shape)
    assert train.dtype == np.float32
    assert np.isin(train, [0.0, 1.0]).all()


def test_a_random_train_keeps_its_rate_within_five_deviations() -> None:
    rate, steps = f32(20, 500), 20_000

    train = coding.poisson(rate, steps=steps, dt=1e-3, rng=np.random.default_rng(3))

    share = rate * 1e-3
    deviation = np.sqrt(steps * share * (1 - share))  # of a binomial count
    assert (np.abs(coding.count(train) - steps * share) < 5 * deviation).all()


def test_a_random_train_is_a_function_of_its_generator() -> None:
    rate = np.full(50, 300, np.float32)

    one = coding.poisson(rate, steps=20, dt=1e-3, rng=np.random.default_rng(1))
    same = coding.poisson(rate, steps=20, dt=1e-3, rng=np.random.default_rng(1))
    other = coding.poisson(rate, steps=20, dt=1e-3, rng=np.random.default_rng(2))

    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_silent_and_saturated_rates_need_no_luck() -> None:
    train = coding.poisson(f32(0, 1000), steps=100, dt=1e-3, rng=np.random.default_rng(0))

    assert coding.count(train).tolist() == [0, 100]


def test_counts_become_rates_and_decisions() -> None:
    train = np.array([[1, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]], np.float32)

    assert coding.count(train).tolist() == [1, 2, 2]
    np.testing.assert_allclose(coding.mean_rate(train, dt=0.5), [0.5, 1.0, 1.0])  # over 2 s
    assert coding.loudest(train) == 1  # of the two with 2 spikes the first


@pytest.mark.parametrize("rate", [-1.0, 1001.0, np.nan])
def test_rate_that_no_train_can_have_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rates must be 0..1000.0 Hz for steps of 0.001 s"):
        coding.regular(f32(rate), steps=1, dt=1e-3)


def test_trains_without_time_are_refused() -> None:
    with pytest.raises(ValueError, match=r"steps >= 0 and dt > 0, got 1 steps of 0.0 s"):
        coding.regular(f32(0), steps=1, dt=0.0)
    with pytest.raises(ValueError, match=r"without steps has no rate, got shape \(0, 3\)"):
        coding.mean_rate(np.zeros((0, 3), np.float32), dt=1.0)
