"""Rules beside pairs, all to all: by hand on few spikes, by closed form, and by what they keep."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.spiking import reward, stdp, synapses, triplet
from shared.spiking.reward import RewardParams
from shared.spiking.stdp import StdpParams, StdpState
from shared.spiking.triplet import TripletParams
from shared.tensors.dtypes import F32

DT = 1e-3
PAIRS = StdpParams(0.25, 0.125, tau_plus=0.02, tau_minus=0.04, w_min=-9.0, w_max=9.0)
TRIPLETS = TripletParams(0.02, 0.1, 0.03, 0.05, 0.016, 0.1, 0.034, 0.125, w_min=-9.0, w_max=9.0)
REWARDED = RewardParams(PAIRS, tau_eligibility=0.5, tau_dopamine=0.2)


def f32(*values: float) -> F32:
    return np.array(values, np.float32)


def one(weight: float) -> F32:
    return np.full((1, 1), weight, np.float32)


def by_pairs(pre: set[int], post: set[int], params: StdpParams, *, weight: float = 0.0) -> float:
    """The weight after spikes at the given steps of 1 ms."""
    state = StdpState(one(weight), f32(0), f32(0))
    for now in range(max(pre | post) + 1):
        state = stdp.step(state, f32(now in pre), f32(now in post), params, dt=DT)
    return float(state.weight[0, 0])


def by_triplets(pre: set[int], post: set[int], params: TripletParams) -> float:
    state = triplet.silent(one(0.0))
    for now in range(max(pre | post) + 1):
        state = triplet.step(state, f32(now in pre), f32(now in post), params, dt=DT)
    return float(state.weight[0, 0])


# Pairs


def test_a_spike_of_nearest_pairs_sees_only_the_last_one_of_the_other_side() -> None:
    nearest = replace(PAIRS, nearest=True)

    # inputs at 0 and 6 ms, neuron at 10 ms: 10 and 4 ms apart, of nearest pairs only 4
    assert by_pairs({0, 6}, {10}, PAIRS) == pytest.approx(
        0.25 * (exp(-0.010 / 0.02) + exp(-0.004 / 0.02)), rel=1e-6
    )
    assert by_pairs({0, 6}, {10}, nearest) == pytest.approx(0.25 * exp(-0.004 / 0.02), rel=1e-6)


def test_a_spike_of_nearest_pairs_counts_once_for_every_one_that_follows() -> None:
    # symmetric: the input at 0 is the last one before both spikes of the neuron, at 3 and 8 ms
    wanted = 0.25 * (exp(-0.003 / 0.02) + exp(-0.008 / 0.02))

    assert by_pairs({0}, {3, 8}, replace(PAIRS, nearest=True)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("softness", [0.5, 1.0])
def test_changes_between_soft_bounds_shrink_with_the_way_left(softness: float) -> None:
    soft = replace(PAIRS, w_min=0.0, w_max=2.0, softness=softness)

    # from 0.5 of 0..2: three quarters of the way are left up, one down
    up = by_pairs({0}, {5}, soft, weight=0.5) - 0.5
    down = by_pairs({5}, {0}, soft, weight=0.5) - 0.5
    assert up == pytest.approx(0.25 * exp(-0.005 / 0.02) * 0.75**softness, rel=1e-5)
    assert down == pytest.approx(-0.125 * exp(-0.005 / 0.04) * 0.25**softness, rel=1e-5)


def test_a_weight_between_soft_bounds_never_arrives_and_one_between_hard_ones_does() -> None:
    hard = StdpParams(0.25, 0.1, 0.02, 0.02)
    soft = replace(hard, softness=1.0)
    trains = {0, 50, 100, 150, 200, 250}, {1, 51, 101, 151, 201, 251}

    assert by_pairs(*trains, hard, weight=0.5) == 1.0
    assert 0.5 < by_pairs(*trains, soft, weight=0.5) < 1.0


# Triplets


@pytest.mark.parametrize("apart", [1, 9, 40])
def test_one_pair_makes_what_the_rule_of_pairs_makes(apart: int) -> None:
    up, down = by_triplets({0}, {apart}, TRIPLETS), by_triplets({apart}, {0}, TRIPLETS)

    assert up == pytest.approx(0.02 * exp(-apart * DT / 0.016), rel=1e-5)
    assert down == pytest.approx(-0.03 * exp(-apart * DT / 0.034), rel=1e-5)


def test_post_pre_post_is_the_triplet_by_hand() -> None:
    made = by_triplets({8}, {0, 12}, TRIPLETS)

    # input at 8 after the neuron's 0: lost a2_minus exp(-8/34), with no earlier input
    # neuron at 12: r1 = exp(-4/16), o2 = exp(-12/125)
    lost = exp(-0.008 / 0.034) * 0.03
    gained = exp(-0.004 / 0.016) * (0.02 + 0.1 * exp(-0.012 / 0.125))
    assert made == pytest.approx(gained - lost, rel=1e-5)


def test_pre_post_pre_is_the_triplet_by_hand() -> None:
    made = by_triplets({0, 12}, {5}, TRIPLETS)

    # neuron at 5: r1 = exp(-5/16), no earlier spike of its own
    # input at 12: o1 = exp(-7/34), r2 = exp(-12/100)
    gained = exp(-0.005 / 0.016) * 0.02
    lost = exp(-0.007 / 0.034) * (0.03 + 0.05 * exp(-0.012 / 0.1))
    assert made == pytest.approx(gained - lost, rel=1e-5)


def test_nearest_triplets_forget_all_spikes_but_the_last() -> None:
    made = by_triplets({5, 20}, {0, 10, 24}, replace(TRIPLETS, nearest=True))

    # at 5: o1 of 0. at 10: r1 of 5, o2 of 0. at 20: o1 of 10, r2 of 5. at 24: r1 of 20, o2 of 10
    wanted = (
        -exp(-5 / 34) * 0.03
        + exp(-5 / 16) * (0.02 + 0.1 * exp(-10 / 125))
        - exp(-10 / 34) * (0.03 + 0.05 * exp(-15 / 100))
        + exp(-4 / 16) * (0.02 + 0.1 * exp(-14 / 125))
    )
    assert made == pytest.approx(wanted, rel=1e-5)


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60)), st.booleans())
@settings(max_examples=40, deadline=None)
def test_without_triplet_amplitudes_triplets_are_pairs(
    pre: set[int], post: set[int], nearest: bool
) -> None:
    flat = replace(TRIPLETS, a3_plus=0.0, a3_minus=0.0, nearest=nearest)
    pairs = StdpParams(0.02, 0.03, 0.016, 0.034, w_min=-9.0, w_max=9.0, nearest=nearest)

    assert by_triplets(pre, post, flat) == pytest.approx(by_pairs(pre, post, pairs), abs=1e-6)


@pytest.mark.parametrize(("hertz", "grows"), [(1, False), (50, True)])
def test_cortical_synapses_weaken_at_low_rates_and_strengthen_at_high_ones(
    hertz: int, grows: bool
) -> None:
    # 10 ms post before pre, which pairs alone can only weaken (Sjöström, Turrigiano & Nelson 2001)
    post = set(range(0, 15 * 1000 // hertz, 1000 // hertz))
    wide = replace(triplet.VISUAL_CORTEX, w_min=-1.0)

    assert (by_triplets({at + 10 for at in post}, post, wide) > 0) is grows


# Reward


def rewarded(pre: int, post: int, given_at: int, *, steps: int, dt: float, amount: float) -> float:
    """How far a weight moves after one pair of spikes and one reward."""
    params, state = reward.discretize(REWARDED, dt=dt), reward.silent(one(0.0))
    for now in range(steps):
        spikes = f32(now == pre), f32(now == post)
        released = amount if now == given_at else 0.0
        state = reward.advance(state, *spikes, params, reward=released)
    return float(state.weight[0, 0])


@pytest.mark.parametrize("dt", [1e-3, 10e-3])
@pytest.mark.parametrize(("pre", "post"), [(0, 2), (2, 0)])
@pytest.mark.parametrize("later", [0, 30, 70])
def test_a_late_reward_moves_the_weight_by_the_closed_form(
    dt: float, pre: int, post: int, later: int
) -> None:
    steps = round(5.0 / dt)  # ten time constants of the slower memory

    moved = rewarded(pre, post, 2 + later, steps=steps, dt=dt, amount=1.5)

    # c0 r exp(-T / 0.5) / (1/0.5 + 1/0.2), c0 by the window of pairs
    up, down = 0.25 * exp(-2 * dt / 0.02), -0.125 * exp(-2 * dt / 0.04)
    wanted = (up if pre < post else down) * 1.5 * exp(-later * dt / 0.5) / (1 / 0.5 + 1 / 0.2)
    assert moved == pytest.approx(wanted, rel=1e-4)


def test_without_reward_nothing_is_learned_and_eligibility_fades() -> None:
    state = reward.silent(one(0.5))
    for now in range(12):
        state = reward.step(state, f32(now == 0), f32(now == 2), REWARDED, dt=DT)

    assert state.weight.tolist() == [[0.5]]
    # 0.25 exp(-2/20) at step 2, nine steps ago
    wanted = 0.25 * exp(-0.002 / 0.02) * exp(-0.009 / 0.5)
    assert state.eligibility[0, 0] == pytest.approx(wanted, rel=1e-5)


def test_punishment_weakens_what_reward_would_have_strengthened() -> None:
    up, down = (
        rewarded(0, 2, 20, steps=200, dt=DT, amount=amount) for amount in (2.0, -2.0)
    )  # 200 ms

    assert up > 0
    assert down == -up


# What all rules keep


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_weights_stay_within_their_bounds(seed: int, nearest: bool, softness: float) -> None:
    rng = np.random.default_rng(seed)
    pre, post = (rng.random((40, size)).astype(np.float32).round() for size in (5, 3))
    weight = rng.random((3, 5)).astype(np.float32)
    pairs = StdpParams(0.6, 0.5, 0.02, 0.04, nearest=nearest, softness=softness)
    triplets = replace(triplet.VISUAL_CORTEX, a3_plus=0.4, nearest=nearest, softness=softness)
    state, other = reward.silent(weight), triplet.silent(weight)

    for now in range(40):
        state = reward.step(
            state, pre[now], post[now], RewardParams(pairs), reward=rng.normal() * 50, dt=DT
        )
        other = triplet.step(other, pre[now], post[now], triplets, dt=DT)

    for held in (state.weight, other.weight):
        assert held.dtype == np.float32
        assert held.min() >= 0.0
        assert held.max() <= 1.0


def test_weights_of_one_sum_keep_their_proportions() -> None:
    weight = np.array([[1.0, 3.0], [0.5, 0.0], [0.0, 0.0]], np.float32)

    # 2 of 1 + 3; 2 of 0.5; a row without weight has none to give
    assert synapses.normalised(weight, 2.0).tolist() == [[0.5, 1.5], [2.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_plus": np.inf}, "tau_plus must be positive and finite, got inf s"),
        ({"softness": -0.5}, "softness must be 0 or more and finite, got -0.5"),
        (
            {"softness": 1.0, "w_max": np.inf},
            r"soft bounds must be finite and apart, got -9.0..inf",
        ),
        ({"softness": 1.0, "a_minus": -0.1}, "a_minus must not be negative between soft bounds"),
        ({"w_min": np.nan}, "w_min nan exceeds w_max 9.0"),
    ],
)
def test_pairs_that_cannot_be_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PAIRS, **options)  # type: ignore[arg-type]  # all are floats


def test_rules_and_shapes_that_cannot_be_are_refused() -> None:
    state = triplet.silent(np.zeros((2, 3), np.float32))
    waiting = reward.silent(one(0.0))

    with pytest.raises(ValueError, match=r"tau_y must be positive and finite, got 0.0 s"):
        replace(TRIPLETS, tau_y=0.0)
    with pytest.raises(ValueError, match=r"tau_dopamine must be positive and finite, got -1.0 s"):
        replace(REWARDED, tau_dopamine=-1.0)
    with pytest.raises(ValueError, match=r"dt must be positive and finite, got 0.0 s"):
        triplet.discretize(TRIPLETS, dt=0.0)
    with pytest.raises(ValueError, match=r"o2 must be \(2,\) for weight \(2, 3\), got \(1,\)"):
        triplet.step(replace(state, o2=f32(0)), f32(0, 0, 0), f32(0, 0), TRIPLETS, dt=DT)
    with pytest.raises(ValueError, match="reward must be finite, got nan"):
        reward.step(waiting, f32(0), f32(0), REWARDED, reward=np.nan, dt=DT)
    with pytest.raises(ValueError, match=r"eligibility \(1, 2\) and weight \(1, 1\)"):
        reward.step(
            replace(waiting, eligibility=np.zeros((1, 2), np.float32)), f32(0), f32(0), REWARDED,
            dt=DT,
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"weights of one sum must not be negative, got -1.0"):
        synapses.normalised(one(-1.0), 1.0)
    with pytest.raises(ValueError, match=r"total must be positive and finite, got 0.0"):
        synapses.normalised(one(1.0), 0.0)
