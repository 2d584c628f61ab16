"""Spikes that are under way, and thresholds that hold neurons to a rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.spiking import delays, homeostasis
from shared.spiking.delays import DelayParams, DelayState
from shared.spiking.homeostasis import HomeostasisParams
from shared.tensors.dtypes import F32

DT = 1e-3
HELD = HomeostasisParams(target=20.0, gain=0.005)


def f32(*values: float) -> F32:
    return np.array(values, np.float32)


def received(train: F32, params: DelayParams, state: DelayState) -> tuple[DelayState, F32]:
    """What arrives in every step, (steps, inputs)."""
    made = np.zeros_like(train)
    for now, spikes in enumerate(train):
        state, made[now] = delays.step(state, spikes, params, dt=DT)
    return state, made


def test_spikes_arrive_whole_steps_after_they_were_sent() -> None:
    params = DelayParams((0.0, 1e-3, 3e-3))
    train = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]], np.float32)

    _, made = received(train, params, delays.empty(params, dt=DT))

    # by 0, 1 and 3 steps
    assert made.T.tolist() == [[1, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


def test_delays_are_rounded_to_the_nearest_step() -> None:
    params = DelayParams((0.0004, 0.0006, 0.0021, 0.9))

    assert delays.discretize(params, dt=DT).tolist() == [0, 1, 2, 900]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 30), st.integers(0, 99))
def test_what_is_sent_arrives_once_however_the_run_is_cut(
    steps: list[int], cut: int, seed: int
) -> None:
    params = DelayParams(tuple(step * DT for step in steps))
    sent = (np.random.default_rng(seed).random((30, len(steps))) < 0.5).astype(np.float32)
    quiet = np.zeros((max(steps), len(steps)), np.float32)  # until all is there
    train = np.concatenate([sent, quiet])

    end, whole = received(train, params, delays.empty(params, dt=DT))
    middle, first = received(train[:cut], params, delays.empty(params, dt=DT))
    _, second = received(train[cut:], params, middle)

    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    for at, step in enumerate(steps):
        np.testing.assert_array_equal(whole[step : step + 30, at], sent[:, at])
    assert whole.sum() == sent.sum()
    assert not end.coming.any()


def test_delays_that_cannot_be_are_refused() -> None:
    params = DelayParams((2e-3, 0.0))

    with pytest.raises(ValueError, match=r"0 s or more and finite, got -0.001 s at 1"):
        DelayParams((0.0, -1e-3))
    with pytest.raises(ValueError, match=r"got nan s at 0"):
        DelayParams((np.nan,))
    with pytest.raises(ValueError, match=r"spikes must be \(2,\) for as many delays, got \(3,\)"):
        delays.step(delays.empty(params, dt=DT), f32(0, 0, 0), params, dt=DT)
    with pytest.raises(ValueError, match=r"coming must be \(2, 2\) for these delays, got \(4, 2\)"):
        delays.step(delays.empty(params, dt=DT / 2), f32(0, 0), params, dt=DT)


def test_a_spike_lifts_the_threshold_and_silence_lowers_it() -> None:
    # gain 5 mV: up by 5 mV (1 - 20 Hz 1 ms) = 4.9 mV, or down by 0.1 mV
    after = homeostasis.step(f32(0.01, 0.01), f32(1, 0), HELD, dt=DT)

    np.testing.assert_allclose(after, [0.0149, 0.0099], rtol=1e-6)


@given(st.integers(0, 99))
def test_a_threshold_counts_spikes_beyond_the_target(seed: int) -> None:
    spikes = (np.random.default_rng(seed).random((500, 4)) < 0.03).astype(np.float32)
    theta = np.zeros(4, np.float32)
    for step in spikes:
        theta = homeostasis.step(theta, step, HELD, dt=DT)

    # 5 mV for each spike but for the 20 Hz 0.5 s = 10 that are due
    np.testing.assert_allclose(theta, 0.005 * (spikes.sum(axis=0) - 10), atol=2e-6)


def test_a_threshold_does_not_fall_below_its_lowest() -> None:
    held = HomeostasisParams(target=20.0, gain=0.005, lowest=-0.001)

    theta = homeostasis.step(f32(-0.00095), f32(0), held, dt=DT)

    assert theta.tolist() == f32(-0.001).tolist()


def test_rates_that_cannot_be_held_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target must be positive and finite, got 0.0 Hz"):
        HomeostasisParams(target=0.0, gain=0.005)
    with pytest.raises(ValueError, match=r"gain must be positive and finite, got -1.0 V"):
        HomeostasisParams(target=1.0, gain=-1.0)
    with pytest.raises(ValueError, match=r"lowest must be a number or -inf, got nan V"):
        HomeostasisParams(target=1.0, gain=1.0, lowest=np.nan)
    with pytest.raises(ValueError, match=r"target must be at most 10.0 Hz for steps of 0.1 s"):
        homeostasis.discretize(HELD, dt=0.1)
    with pytest.raises(ValueError, match=r"theta \(1,\) and spikes \(2,\) must have one shape"):
        homeostasis.step(f32(0), f32(0, 0), HELD, dt=DT)
