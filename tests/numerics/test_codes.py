"""Codes in the times of spikes and in populations: by hand, and back as they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.spiking import coding, receptive, temporal
from shared.spiking.receptive import Fields
from shared.tensors.dtypes import F32

SHARES = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=2, max_side=5),
    elements=st.floats(0, 1, width=32),
)


def f32(*values: float) -> F32:
    return np.array(values, dtype=np.float32)


# Latency


def test_the_larger_the_number_the_earlier_its_only_spike() -> None:
    train = temporal.latency(f32(1.0, 0.75, 0.5, 0.2, 0.0), steps=4)

    # steps 4 (1 - x): 0, 1, 2, 3.2 which is 3, and 4, which is after the end
    assert train.T.tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
    ]


@given(SHARES, st.integers(1, 200))
def test_a_latency_tells_its_number_to_half_a_step(x: F32, steps: int) -> None:
    train = temporal.latency(x, steps=steps)

    assert train.shape == (steps, *x.shape)
    assert (coding.count(train) <= 1).all()
    np.testing.assert_allclose(temporal.of_latency(train), x, atol=0.5 / steps + 1e-6)


def test_the_first_spike_decides_and_silence_comes_last() -> None:
    train = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 0]], np.float32)[:, np.newaxis]

    assert temporal.first(train).tolist() == [[2, 1, 1]]
    assert temporal.earliest(train).tolist() == [1]  # of the two of step 1 the first
    assert temporal.first(np.zeros((5, 2), np.float32)).tolist() == [5, 5]


# Phase


def test_a_phase_is_a_binary_place() -> None:
    train = temporal.phase(f32(0.625, 1.0, 0.2), period=3, periods=2)

    # 0.625 = 1/2 + 1/8; 1 is more than 1/2 + 1/4 + 1/8 and becomes that; 0.2 lies above 1/8
    assert train.T.tolist() == [[1, 0, 1, 1, 0, 1], [1] * 6, [0, 0, 1, 0, 0, 1]]
    assert temporal.of_phase(train, period=3).tolist() == [0.625, 0.875, 0.125]


@given(SHARES, st.integers(1, 24), st.integers(1, 3))
def test_a_phase_code_tells_its_number_to_the_last_place(x: F32, period: int, periods: int) -> None:
    train = temporal.phase(x, period=period, periods=periods)

    short = x.astype(np.float64) - temporal.of_phase(train, period=period)
    assert train.shape == (period * periods, *x.shape)
    assert ((short >= 0) & (short <= 2.0**-period)).all()


# Changes


def test_a_spike_stands_for_a_threshold_of_change_up_or_down() -> None:
    signal = f32(0.0, 0.5, 1.25, 2.5, 2.5, 1.5)

    train = temporal.delta(signal, threshold=1.0)

    # told: 0, 0, 1, 2 (2.5 is 1.5 above 1), 2, 2 (1.5 is only half below)
    assert train[:, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert train[:, 1].tolist() == [0] * 6
    assert temporal.delta(-signal, threshold=1.0)[:, 1].tolist() == [0, 0, 1, 1, 0, 0]


def test_a_jump_of_several_thresholds_is_told_one_step_after_the_other() -> None:
    train = temporal.delta(f32(0.0, 3.0, 3.0, 3.0, 3.0), threshold=1.0)

    assert train[:, 0].tolist() == [0, 1, 1, 1, 0]


@given(st.integers(0, 2**31), st.floats(0.05, 2.0))
def test_a_signal_that_changes_slowly_comes_back_within_a_threshold(
    seed: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-threshold, threshold, (60, 3))
    signal = np.cumsum(moves, axis=0).astype(np.float32)

    train = temporal.delta(signal, threshold=threshold)

    told = temporal.of_delta(train, signal[0], threshold=threshold)
    assert np.abs(told - signal).max() < threshold * (1 + 1e-4)
    assert (train.sum(axis=-1) <= 1).all()


# Populations


def test_a_neuron_answers_by_how_far_a_number_is_from_its_favourite() -> None:
    fields = Fields(0.0, 1.0, neurons=4, beta=1.0)

    found = receptive.answers(f32(0.25), fields)

    # centres -1/4, 1/4, 3/4, 5/4, widths 1/2: away by 1, 0, 1 and 2 widths
    np.testing.assert_allclose(fields.centres(), [-0.25, 0.25, 0.75, 1.25])
    np.testing.assert_allclose(found, [np.exp([-0.5, 0, -0.5, -2])], rtol=1e-6)


@given(st.floats(-2.0, 3.0, width=32))
def test_the_estimate_of_a_population_is_near_the_number(x: float) -> None:
    fields = Fields(-2.0, 3.0, neurons=12)

    rate = receptive.answers(f32(x), fields) * np.float32(1000)
    train = coding.regular(rate, steps=1000, dt=1e-3)

    assert receptive.estimate(train, fields)[0] == pytest.approx(x, abs=fields.distance / 2)


def test_a_silent_population_estimates_nothing() -> None:
    train = np.zeros((5, 2, 4), np.float32)
    train[0, 1, 2] = 1.0

    found = receptive.estimate(train, Fields(0.0, 1.0, neurons=4))

    assert np.isnan(found[0])
    assert found[1] == 0.75  # the centre of the only neuron that spiked


# Decisions


def test_classes_are_elected_by_the_mean_of_their_neurons() -> None:
    train = np.zeros((4, 2, 4), np.float32)
    train[:3, 0, 0] = train[:2, 0, 1] = train[:2, 0, 2] = 1.0  # counts 3 2 2 0
    train[:, 1, 3] = 1.0  # counts 0 0 0 4
    owners = np.array([2, 0, 0, 2])

    # class 0: (2 + 2) / 2 = 2, class 2: (3 + 0) / 2 = 1.5; then 0 and 2; class 1 owns nobody
    assert coding.vote(train, owners, classes=3).tolist() == [0, 2]
    assert coding.vote(0 * train, 2 - owners // 2, classes=3).tolist() == [1, 1]  # 0 owns nobody


def test_the_highest_potential_decides_whenever_it_was() -> None:
    v = np.array([[[0.1, 0.2]], [[0.9, 0.3]], [[-1.0, 0.4]]], np.float32)

    assert coding.highest(v).tolist() == [0]


# Refusals


@pytest.mark.parametrize("value", [-0.25, 1.25, np.nan])
def test_numbers_that_a_code_cannot_tell_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=rf"numbers must be 0..1, got {value}..{value}"):
        temporal.latency(f32(value), steps=3)
    with pytest.raises(ValueError, match=rf"numbers must be 0..1, got {value}..{value}"):
        temporal.phase(f32(value), period=3)
    with pytest.raises(ValueError, match=rf"numbers must be 0.0..1.0, got {value}..{value}"):
        receptive.answers(f32(value), Fields(0.0, 1.0, neurons=3))


def test_trains_of_no_length_and_periods_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a step at least, got 0"):
        temporal.latency(f32(0.5), steps=0)
    with pytest.raises(ValueError, match=r"no first spike, got shape \(0, 1\)"):
        temporal.first(np.zeros((0, 1), np.float32))
    with pytest.raises(ValueError, match="1 to 24 steps, got 25"):
        temporal.phase(f32(0.5), period=25)
    with pytest.raises(ValueError, match="once at least, got 0 periods"):
        temporal.phase(f32(0.5), period=2, periods=0)
    with pytest.raises(ValueError, match="whole periods of 3 steps, got 4"):
        temporal.of_phase(np.zeros((4, 1), np.float32), period=3)


def test_signals_and_thresholds_that_say_nothing_are_refused() -> None:
    for threshold in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"threshold must be positive .* got {threshold}"):
            temporal.delta(f32(0, 1), threshold=threshold)
    with pytest.raises(ValueError, match="threshold must be positive and finite, got 0"):
        temporal.of_delta(np.zeros((2, 2), np.float32), np.float32(0), threshold=0)
    with pytest.raises(ValueError, match=r"finite and have a step, got shape \(2,\)"):
        temporal.delta(f32(0, np.nan), threshold=1.0)


def test_fields_that_cover_no_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must go up, got 1.0..0.0"):
        Fields(1.0, 0.0, neurons=4)
    with pytest.raises(ValueError, match="3 neurons at least, got 2"):
        Fields(0.0, 1.0, neurons=2)
    with pytest.raises(ValueError, match=r"beta must be positive and finite, got 0.0"):
        Fields(0.0, 1.0, neurons=3, beta=0.0)
    with pytest.raises(ValueError, match=r"fields of 3 neurons, got a train \(5, 4\)"):
        receptive.estimate(np.zeros((5, 4), np.float32), Fields(0.0, 1.0, neurons=3))


def test_elections_without_owners_or_classes_are_refused() -> None:
    train = np.zeros((3, 2), np.float32)

    with pytest.raises(ValueError, match=r"owners \(3,\) must be one for each neuron of \(3, 2\)"):
        coding.vote(train, np.array([0, 0, 0]), classes=1)
    with pytest.raises(ValueError, match=r"owners must be 0..1, got 0..2"):
        coding.vote(train, np.array([0, 2]), classes=2)
    with pytest.raises(ValueError, match=r"numbers and have a step, got shape \(1, 2\)"):
        coding.highest(np.full((1, 2), np.nan, np.float32))
