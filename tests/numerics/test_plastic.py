"""Layers that learn as they run: steps by hand, windows by definition, streams cut anywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.spiking import plastic
from shared.spiking.layers import Layer
from shared.spiking.plastic import Competition, Rule, State
from shared.tensors.dtypes import F32, U8

FREE, FIXED = Competition(), Rule()
LEARNS = Rule(a_plus=0.05, a_minus=0.03, decay_pre=0.9, decay_post=0.8)


def state(weight: list[list[float]] | F32) -> State:
    """At rest, with no spike in the past."""
    held = np.asarray(weight, np.float32)
    m, k = held.shape
    none = np.zeros(m, np.float32)
    return State(held, none, none, np.zeros(k, np.float32), none)


def train(*steps: list[int]) -> U8:
    return np.array(steps, np.uint8)


def test_potentials_of_three_steps_are_those_by_hand() -> None:
    # decay 0.5, weight 0.75: 0.75; 0.5 · 0.75 + 0.75 = 1.125 > 1 spikes, reset to 0; then 0.75
    fired, after = plastic.run(train([1], [1], [1]), state([[0.75]]), None, Layer(0.5), FIXED, FREE)

    assert fired.ravel().tolist() == [0, 1, 0]
    assert after.v.tolist() == [0.75]


def test_threshold_rises_with_every_spike_and_falls_back() -> None:
    # theta 0, then 0.5 at the spike of step 0, then halves: 0.25, 0.125
    tires = Competition(theta_plus=0.5, theta_decay=0.5)

    fired, after = plastic.run(
        train([1], [1], [0]), state([[1.25]]), None, Layer(0.0), FIXED, tires
    )

    assert fired.ravel().tolist() == [1, 0, 0]  # 1.25 > 1; 1.25 ≤ 1 + 0.5
    assert after.theta.tolist() == [0.125]


def test_alone_only_the_first_of_the_largest_margins_fires() -> None:
    weight = [[2.0], [3.0], [3.0], [0.5]]

    fired, after = plastic.run(
        train([1]), state(weight), None, Layer(1.0), FIXED, Competition(alone=True)
    )

    assert fired.tolist() == [[0, 1, 0, 0]]
    assert after.v.tolist() == [2.0, 0.0, 3.0, 0.5]


def test_spike_inhibits_all_others() -> None:
    weight = [[2.0], [0.5], [0.25]]

    _, after = plastic.run(
        train([1]), state(weight), None, Layer(1.0), FIXED, Competition(inhibition=0.75)
    )

    assert after.v.tolist() == [0.0, -0.25, -0.5]


@pytest.mark.parametrize("apart", [1, 2, 5, 20])
def test_pair_of_spikes_changes_the_weight_by_the_window(apart: int) -> None:
    # input 1 drives the neuron and learns too; of input 0, which only comes earlier, the rule says
    # + a_plus decay_pre^apart
    steps = np.zeros((apart + 1, 2), np.uint8)
    steps[0, 0] = steps[apart, 1] = 1

    _, after = plastic.run(steps, state([[0.25, 2.0]]), None, Layer(0.0), _wide(LEARNS), FREE)

    assert after.weight[0, 0] == pytest.approx(0.25 + 0.05 * 0.9**apart, rel=1e-5)


@pytest.mark.parametrize("apart", [1, 2, 5, 20])
def test_pair_in_the_other_order_weakens(apart: int) -> None:
    steps = np.zeros((apart + 1, 2), np.uint8)
    steps[0, 1] = steps[apart, 0] = 1

    _, after = plastic.run(steps, state([[0.25, 2.0]]), None, Layer(0.0), _wide(LEARNS), FREE)

    assert after.weight[0, 0] == pytest.approx(0.25 - 0.03 * 0.8**apart, rel=1e-5)


def _wide(rule: Rule) -> Rule:
    return Rule(rule.a_plus, rule.a_minus, rule.decay_pre, rule.decay_post, w_min=-9.0, w_max=9.0)


def test_nearest_pairs_forget_all_spikes_but_the_last() -> None:
    # the input spikes at 0 and 1, the neuron at 2: traces 0.9² + 0.9 of all pairs, 0.9 of nearest
    steps = train([1, 0], [1, 0], [0, 1])
    changes = [
        plastic.run(
            steps,
            state([[0.25, 2.0]]),
            None,
            Layer(0.0),
            Rule(a_plus=0.05, decay_pre=0.9, w_max=9.0, nearest=nearest),
            FREE,
        )[1].weight[0, 0]
        - 0.25
        for nearest in (False, True)
    ]

    assert changes == pytest.approx([0.05 * (0.81 + 0.9), 0.05 * 0.9], rel=1e-4)


def test_silent_inputs_lose_at_a_spike_what_lies_below_the_offset() -> None:
    rule = Rule(a_plus=0.1, decay_pre=0.5, offset=0.4)

    _, after = plastic.run(train([0, 1]), state([[0.5, 2.0]]), None, Layer(0.0), rule, FREE)

    assert after.weight[0].tolist() == pytest.approx([0.5 - 0.1 * 0.4, 1.0])  # 2.0 - 0.04, clipped


def test_a_changed_weight_counts_from_the_next_step_on() -> None:
    # 0.9 is below the threshold until the spike of step 1, driven by input 1, has strengthened it
    rule = Rule(a_plus=1.0, decay_pre=0.5, w_max=9.0)

    fired, _ = plastic.run(
        train([1, 0], [0, 1], [1, 0]), state([[0.9, 2.0]]), None, Layer(0.0), rule, FREE
    )

    assert fired.ravel().tolist() == [0, 1, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 29), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_stream_that_is_cut_goes_on_as_if_it_were_not(
    seed: int, cut: int, alone: bool, nearest: bool
) -> None:
    rng = np.random.default_rng(seed)
    spikes = (rng.random((30, 11)) < 0.3).astype(np.uint8)
    rule = Rule(0.05, 0.03, 0.9, 0.8, 0.2, nearest=nearest)
    rest = (None, Layer(0.9, threshold=0.6), rule, Competition(0.1, 0.95, 0.3, alone=alone))
    begun = state(rng.random((7, 11)).astype(np.float32))

    whole, end = plastic.run(spikes, begun, *rest)
    first, middle = plastic.run(spikes[:cut], begun, *rest)
    second, last = plastic.run(spikes[cut:], middle, *rest)

    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    for one, other in zip(last, end, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_weights_stay_within_their_bounds_and_alone_one_fires(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spikes = (rng.random((40, 9)) < 0.4).astype(np.uint8)
    rule = Rule(*rng.random(2), 0.9, 0.9, 0.3, w_min=0.1, w_max=0.7)
    begun = state(rng.uniform(0.1, 0.7, (6, 9)).astype(np.float32))

    fired, after = plastic.run(
        spikes, begun, None, Layer(0.9, threshold=0.3), rule, Competition(alone=True)
    )

    assert fired.sum(axis=1).max() <= 1
    assert after.weight.min() >= np.float32(0.1)
    assert after.weight.max() <= np.float32(0.7)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Rule, {"decay_pre": 1.5}, r"decay_pre is a share of 0\.\.1, got 1\.5"),
        (Rule, {"a_plus": float("nan")}, "a_plus is finite, got nan"),
        (Rule, {"w_min": 2.0}, r"w_min 2\.0 exceeds w_max 1\.0"),
        (Competition, {"theta_decay": -0.1}, "theta_decay is a share"),
        (Competition, {"inhibition": -1.0}, r"inhibition is not negative, got -1\.0"),
    ],
)
def test_what_is_no_rule_is_refused(
    kind: type[Rule] | type[Competition], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
