"""Rules of plasticity against their equations, and what holds for synapses under any of them."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.spiking import rewarded, stdp, synapses, triplet
from shared.spiking.rewarded import RewardedParams
from shared.spiking.stdp import StdpParams, StdpState
from shared.spiking.triplet import TripletParams
from shared.tensors.dtypes import F32

DT = 1e-3
ONE, NONE = np.ones(1, np.float32), np.zeros(1, np.float32)
WIDE = TripletParams(
    a2_plus=5e-3, a3_plus=6e-3, a2_minus=7e-3, a3_minus=2e-3, w_min=-9.0, w_max=9.0
)
PAIRS = StdpParams(0.02, 0.01, 20e-3, 30e-3, w_min=-9.0, w_max=9.0)


def after_triplets(pre: set[int], post: set[int], steps: int = 60) -> float:
    """The weight of one synapse that began at 0."""
    state = triplet.at_rest(np.zeros((1, 1), np.float32))
    for at in range(steps):
        spikes = (ONE if at in pre else NONE, ONE if at in post else NONE)
        state = triplet.step(state, *spikes, WIDE, dt=DT)
    return float(state.weight[0, 0])


def test_pair_in_triplets_is_a_pair() -> None:
    # the neuron 7 ms after the input: a2_plus exp(-7 / 16.8); the other way a2_minus exp(-7 / 33.7)
    assert after_triplets({10}, {17}) == pytest.approx(5e-3 * exp(-7 / 16.8), rel=1e-5)
    assert after_triplets({17}, {10}) == pytest.approx(-7e-3 * exp(-7 / 33.7), rel=1e-5)


def test_second_spike_of_the_neuron_strengthens_more() -> None:
    # input at 10, neuron at 15 and 25: the second reads o2 = exp(-10 / 114) of the first
    first = 5e-3 * exp(-5 / 16.8)
    second = exp(-15 / 16.8) * (5e-3 + 6e-3 * exp(-10 / 114))

    assert after_triplets({10}, {15, 25}) == pytest.approx(first + second, rel=1e-5)


def test_second_spike_of_the_input_weakens_more() -> None:
    # neuron at 10, input at 15 and 25: the second reads r2 = exp(-10 / 101) of the first
    first = 7e-3 * exp(-5 / 33.7)
    second = exp(-15 / 33.7) * (7e-3 + 2e-3 * exp(-10 / 101))

    assert after_triplets({15, 25}, {10}) == pytest.approx(-(first + second), rel=1e-5)


def test_high_rates_strengthen_where_low_ones_weaken() -> None:
    # the neuron spikes 10 ms before the input: a pair a second loses, 50 in a second gain
    params = TripletParams(w_min=-9.0, w_max=9.0)
    ends = []
    for gap, count in ((1000, 5), (20, 60)):
        state = triplet.at_rest(np.zeros((1, 1), np.float32))
        for at in range(gap * count):
            pre, post = at % gap == 0, at % gap == gap - 10
            state = triplet.step(state, ONE if pre else NONE, ONE if post else NONE, params, dt=DT)
        ends.append(float(state.weight[0, 0]))

    assert ends[0] < 0 < ends[1]


def test_eligibility_of_a_pair_falls_and_a_reward_turns_it_into_weight() -> None:
    params = RewardedParams(PAIRS, tau_c=0.5)
    state = rewarded.at_rest(np.zeros((1, 1), np.float32))
    for at in range(300):
        spikes = (ONE if at == 10 else NONE, ONE if at == 15 else NONE)
        state = rewarded.step(state, *spikes, params, reward=2.0 if at == 215 else 0.0, dt=DT)

    pair = 0.02 * exp(-5 / 20)
    assert state.weight[0, 0] == pytest.approx(2.0 * pair * exp(-200 / 500), rel=1e-4)
    assert state.eligibility[0, 0] == pytest.approx(pair * exp(-284 / 500), rel=1e-4)


def test_without_a_reward_nothing_is_learned_and_punishment_unlearns() -> None:
    params = RewardedParams(PAIRS, tau_c=0.5)
    state = rewarded.at_rest(np.full((1, 1), 0.5, np.float32))
    for at in range(40):
        spikes = (ONE if at == 10 else NONE, ONE if at == 15 else NONE)
        state = rewarded.step(state, *spikes, params, reward=0.0, dt=DT)
    assert state.weight[0, 0] == 0.5

    punished = rewarded.step(state, NONE, NONE, params, reward=-1.0, dt=DT)

    assert punished.weight[0, 0] < 0.5


def test_reward_in_every_step_without_memory_is_pair_stdp() -> None:
    rng = np.random.default_rng(3)
    weight: F32 = rng.random((4, 6), dtype=np.float32)
    plain = StdpState(weight, np.zeros(6, np.float32), np.zeros(4, np.float32))
    told = rewarded.at_rest(weight)
    forgets = RewardedParams(PAIRS, tau_c=1e-9)
    for _ in range(50):
        pre, post = ((rng.random(size) < 0.3).astype(np.float32) for size in (6, 4))
        plain = stdp.step(plain, pre, post, PAIRS, dt=DT)
        told = rewarded.step(told, pre, post, forgets, reward=1.0, dt=DT)

    np.testing.assert_allclose(told.weight, plain.weight, rtol=1e-5, atol=1e-6)


@given(st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_weights_stay_between_bounds_hard_or_soft(softness: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, gained, lost = (rng.random((3, 5), dtype=np.float32) * 2 for _ in range(3))

    made = synapses.bounded(weight, gained, lost, low=0.1, high=0.9, softness=softness)

    assert made.min() >= np.float32(0.1)
    assert made.max() <= np.float32(0.9)


def test_soft_bounds_slow_down_in_proportion_to_the_way_left() -> None:
    weight = np.array([[0.25, 0.75]], np.float32)
    none, tenth = np.zeros((1, 2), np.float32), np.full((1, 2), 0.1, np.float32)

    up = synapses.bounded(weight, tenth, none, low=0.0, high=1.0, softness=1.0)
    down = synapses.bounded(weight, none, tenth, low=0.0, high=1.0, softness=1.0)

    np.testing.assert_allclose(up, [[0.25 + 0.075, 0.75 + 0.025]], rtol=1e-6)
    np.testing.assert_allclose(down, [[0.25 - 0.025, 0.75 - 0.075]], rtol=1e-6)


def test_normalized_weights_have_one_sum_and_their_proportions() -> None:
    weight = np.array([[1, 3], [0, 0], [2, 2]], np.float32)

    made = synapses.normalized(weight, 2.0)

    assert made.tolist() == [[0.5, 1.5], [0.0, 0.0], [1.0, 1.0]]


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_every_spike_arrives_its_delay_later(delays: list[int], seed: int) -> None:
    held = np.array(delays, np.int32)
    train = (np.random.default_rng(seed).random((20, len(delays))) < 0.4).astype(np.float32)
    state, arrived = synapses.none_under_way(held), []
    for spikes in np.concatenate([train, np.zeros((8, len(delays)), np.float32)]):
        state, now = synapses.delayed(state, spikes, held)
        arrived.append(now)

    made = np.stack(arrived)
    for neuron, delay in enumerate(delays):
        np.testing.assert_array_equal(made[delay : delay + 20, neuron], train[:, neuron])
    assert made.sum() == train.sum()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: TripletParams(tau_x=0.0), "tau_x must be positive and finite"),
        (lambda: TripletParams(w_min=2.0), r"w_min 2\.0 exceeds w_max 1\.0"),
        (lambda: RewardedParams(PAIRS, tau_c=-1.0), "tau_c must be positive"),
        (lambda: synapses.normalized(np.ones((1, 1), np.float32), 0.0), r"positive, got 0\.0"),
        (lambda: synapses.none_under_way(np.array([-1], np.int32)), "from 0, got -1"),
        (
            lambda: triplet.step(
                triplet.at_rest(np.zeros((2, 1), np.float32)), ONE, ONE, WIDE, dt=DT
            ),
            r"do not fit weights \(post, pre\) \(2, 1\)",
        ),
        (
            lambda: rewarded.step(
                rewarded.at_rest(np.zeros((1, 1), np.float32)),
                ONE,
                ONE,
                RewardedParams(PAIRS),
                reward=float("nan"),
                dt=DT,
            ),
            "a reward is finite, got nan",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()  # type: ignore[operator]
