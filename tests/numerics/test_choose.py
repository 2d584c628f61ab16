"""Choosing a layout: features against counting by hand, decisions against arithmetic by hand."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sparse import candidates, choose, features, trials
from shared.sparse.candidates import DENSE, EVERY, Candidate
from shared.sparse.choose import Choice, Goal, Question
from shared.sparse.features import Features
from shared.sparse.trials import Answer, Failure, Key, Remembered, Trial
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, dense
from tests.numerics import sparse_samples
from tests.numerics.sparse_samples import MATRICES, csr

CSR = Candidate(Layout.CSR)
SELL = Candidate(Layout.SELL)
DEVICE = {"device": "a card", "driver": "1.0"}


FEW = choose.TRIED


@pytest.fixture(autouse=True, scope="module")
def everything_is_tried() -> Iterator[None]:
    """So that a test may name any layout, however the table ranks it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "TRIED", len(EVERY))
        yield


def seen(matrix: F32) -> Features:
    return features.of(csr(matrix))


def ordinary(share: float = 0.05) -> Features:
    return seen(sparse_samples.random(200, 300, share))


def constant(**seconds: Answer | float) -> choose.Measure:
    """A device on which each layout takes a constant time, conversions none."""

    def measure(candidate: Candidate) -> Answer:
        told = seconds.get(candidate.layout.value, 10.0)
        return told if isinstance(told, Trial | Failure) else Trial(told, 0.0)

    return measure


def chosen(question: Question, measure: choose.Measure) -> Choice:
    return choose.layout(question, measure, **DEVICE)


# Features


def test_features_are_what_one_counts_by_hand() -> None:
    matrix = np.zeros((3, 20), np.float32)
    matrix[0, [0, 1, 2]], matrix[2, [17]] = 1, 1

    found = seen(matrix)

    assert (found.rows, found.cols, found.nonzeros) == (3, 20, 4)
    assert found.row_variance == pytest.approx((9 + 0 + 1) / 3 - (4 / 3) ** 2)
    assert found.longest == 3
    assert found.band == 17 - 2 * 20 // 3  # row 2 has its diagonal at column 13
    assert found.blocks == (2, 1)  # columns 0..15 and 16..19; all in one of 64
    assert found.most == (3, 3)
    assert found.slots == 64 * 3
    assert found.block_fill == (4 / 512, 4 / 4096)
    assert found.group_fill == (4 / (3 * 5 * 3), 4 / (3 * 3 * 3))


@pytest.mark.parametrize("name", sparse_samples.awkward())
def test_bytes_of_every_candidate_are_those_of_the_tensor_it_makes(name: str) -> None:
    matrix = sparse_samples.awkward()[name]
    found = seen(matrix)

    for dtype in candidates.VALUES if np.isfinite(matrix).all() else (Dtype.F32, Dtype.F16):
        for candidate in candidates.fitting(found, dtype):
            made = candidates.laid_out(dense(matrix), candidate)

            assert made.nbytes == candidates.nbytes(candidate, found), candidate.name
            assert made.layout is candidate.layout
            assert made.dtype is candidate.dtype


@given(MATRICES)
def test_every_fitting_candidate_holds_the_matrix(matrix: F32) -> None:
    for candidate in candidates.fitting(seen(matrix)):
        made = candidates.laid_out(dense(matrix), candidate)

        np.testing.assert_array_equal(candidates.laid_out(made, DENSE).values, matrix)


def test_structures_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    uniform = sparse_samples.random(512, 512, 0.05)
    blocks = np.kron(rng.random((32, 32)) < 0.2, np.ones((16, 16))).astype(np.float32)
    pairs = np.tile(np.array([1, 0, 2, 0], np.float32), (512, 128))
    band = np.triu(np.tril(np.ones((512, 512), np.float32), 3), -3)
    gaps = np.where(rng.random((512, 1)) < 0.2, sparse_samples.random(512, 512, 0.3), 0)
    one_row = uniform.copy()
    one_row[7] = 1

    found = [seen(m).structure for m in (uniform, blocks, pairs, band, gaps, one_row)]

    assert found == ["uniform", "block16", "nm2of4", "banded", "uneven", "spiked"]
    assert seen(np.zeros((4, 4), np.float32)).structure == "empty"


def test_a_shape_class_holds_neighbours_and_no_others() -> None:
    def told(share: float, columns: int = 8) -> str:
        return features.shape_class(seen(sparse_samples.random(512, 512, share, seed=1)), columns)

    assert told(0.1) == told(0.09)
    assert told(0.1) == "rows 2^9 cols 2^9 x 2^3 density 2^-3.5 uniform"
    assert len({told(0.1), told(0.05), told(0.1, columns=64)}) == 3


# Decisions


def test_the_fastest_trial_wins_and_the_reason_holds_the_numbers() -> None:
    question = Question(ordinary(), columns=8, uses=1000)

    choice = chosen(question, constant(dense=2e-3, csr=1e-3, sell=5e-4))

    assert choice.layout is Layout.SELL
    assert choice.dtype is Dtype.F32
    assert choice.reason.startswith("sell f32 0.5 ms (made in 0 ms) against dense 2 ms")
    assert choice.reason.endswith("1000 uses")
    assert not choice.cached


def test_few_candidates_are_tried_and_dense_is_always_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choose, "TRIED", FEW)
    asked: list[Candidate] = []

    def measure(candidate: Candidate) -> Answer:
        asked.append(candidate)
        return Trial(1e-3, 0.0)

    choice = chosen(Question(ordinary(), columns=8, uses=1000), measure)

    assert asked[0] == DENSE
    assert len(asked) == len(set(asked)) == 1 + FEW == 4
    assert set(choice.measured) == set(asked)
    assert {one.candidate for one in choice.ranked} > set(asked)


def test_conversion_counts_once_and_seconds_at_every_use() -> None:
    measure = constant(dense=Trial(3e-3, 0.0), csr=Trial(2e-3, 0.1), sell=Trial(1e-3, 1.0))

    found = [
        chosen(Question(ordinary(), columns=8, uses=uses), measure).layout
        for uses in (0, 50, 500, 5000)
    ]

    # 50: dense 0.15, csr 0.2, sell 1.05; 500: 1.5, 1.1, 1.5; 5000: 15, 10.1, 6
    assert found == [Layout.DENSE, Layout.DENSE, Layout.CSR, Layout.SELL]


def test_without_any_use_only_the_conversion_counts() -> None:
    slow = Trial(1.0, 0.2)
    measure = constant(dense=Trial(1e-6, 0.5), csr=Trial(1.0, 0.0), csc=slow, bitmask=slow)

    choice = chosen(Question(ordinary(), columns=1, uses=0), measure)

    assert choice.layout is Layout.CSR
    assert choice.conversion_s == 0.0


def test_what_hardly_beats_dense_loses_to_it() -> None:
    question = Question(ordinary(), columns=8, uses=1000)

    assert chosen(question, constant(dense=1.0, csr=0.96)).layout is Layout.DENSE
    assert chosen(question, constant(dense=1.0, csr=0.94)).layout is Layout.CSR


def test_a_matrix_without_zeros_stays_dense_where_dense_is_fastest() -> None:
    question = Question(seen(np.ones((64, 64), np.float32)), columns=8, uses=1000)

    choice = chosen(question, constant(dense=1e-4, csr=1e-3))

    assert choice.layout is Layout.DENSE


def test_the_goal_may_be_bytes_or_both() -> None:
    found = ordinary(0.02)
    measure = constant(dense=1e-4, csr=1e-3, sell=5e-4)

    smallest = chosen(Question(found, 8, 1000, goal=Goal.BYTES), measure)
    both = chosen(Question(found, 8, 1000, goal=Goal.BOTH), measure)

    least = min(candidates.fitting(found), key=lambda one: candidates.nbytes(one, found))
    assert smallest.candidate == least
    assert smallest.reason.endswith("for its bytes")
    assert both.layout is Layout.SELL


def test_narrow_values_are_chosen_only_when_asked_for() -> None:
    found = ordinary()

    wide = choose.plan(Question(found, 8, 1000))
    narrow = choose.plan(Question(found, 8, 1000, dtype=Dtype.I8))

    assert {one.dtype for one in wide} == {Dtype.F32}
    assert {one.dtype for one in narrow if one != DENSE} == {Dtype.I8}
    assert DENSE in narrow


# Bad input


@pytest.mark.parametrize("name", sparse_samples.awkward())
def test_an_awkward_matrix_has_a_layout_and_a_reason(name: str) -> None:
    matrix = sparse_samples.awkward()[name]

    choice = chosen(Question(seen(matrix), columns=3, uses=10), constant(dense=2.0))

    assert choice.reason
    made = candidates.laid_out(dense(matrix), choice.candidate)
    np.testing.assert_array_equal(candidates.laid_out(made, DENSE).values, matrix)


def test_of_an_empty_matrix_nothing_but_csr_and_dense_is_tried() -> None:
    question = Question(seen(np.zeros((9, 7), np.float32)), columns=3, uses=10)

    assert choose.plan(question) == (DENSE, CSR)


def test_a_candidate_that_fails_is_passed_over_with_its_reason() -> None:
    def measure(candidate: Candidate) -> Answer:
        if candidate.layout is Layout.SELL:
            raise ValueError("no room for slices")
        return Failure("the device was lost") if candidate == DENSE else Trial(1e-3, 0.0)

    choice = chosen(Question(ordinary(), columns=8, uses=10_000), measure)

    assert choice.layout not in (Layout.SELL, Layout.DENSE)
    assert "sell f32 (failed: no room for slices)" in choice.reason
    assert "dense (failed: the device was lost)" in choice.reason


def test_when_every_trial_fails_it_is_dense_and_csr_where_dense_cannot_be() -> None:
    found = ordinary()
    vast = replace(found, rows=2**20, cols=2**20)

    def measure(_: Candidate) -> Answer:
        return Failure("no worker")

    small, large = (chosen(Question(each, 8, 10), measure) for each in (found, vast))

    assert (small.layout, large.layout) == (Layout.DENSE, Layout.CSR)
    assert small.reason.startswith("dense (failed: no worker) against ")
    assert DENSE not in large.measured


@pytest.mark.parametrize("bad", [nan, inf, -1.0, 0.0, 1e9])
def test_a_time_that_no_clock_gives_is_a_failure(bad: float) -> None:
    choice = chosen(Question(ordinary(), columns=8, uses=10), constant(dense=1.0, csr=bad))

    assert choice.layout is Layout.DENSE
    assert "csr f32 (failed: it reported" in choice.reason


@pytest.mark.parametrize(("columns", "uses"), [(-1, 1), (1, -1)])
def test_counts_below_zero_are_refused(columns: int, uses: int) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Question(ordinary(), columns, uses)


def test_values_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="got bf16"):
        Question(ordinary(), 1, 1, dtype=Dtype.BF16)


def test_values_that_are_no_numbers_do_not_change_the_choice() -> None:
    matrix = sparse_samples.random(100, 100, 0.1)
    broken = np.where(matrix != 0, np.float32(np.nan), matrix)

    assert seen(broken) == seen(matrix)


# The cache


def remembered(question: Question, **known: object) -> dict[Key, Remembered]:
    held = {"dense": Trial(2e-3, 0.0), "csr f32": Trial(1e-3, 0.0)} | known.pop("more", {})  # type: ignore[operator]  # a dict
    entry = replace(Remembered(trials.EDITION, held), **known)  # type: ignore[arg-type]
    return {Key(question.shape, **DEVICE): entry}


def never(_: Candidate) -> Answer:
    raise AssertionError("nothing is to be tried")


def test_trials_of_the_same_class_are_used_again_and_it_says_so() -> None:
    question = Question(ordinary(), columns=8, uses=1000)

    choice = choose.layout(question, never, **DEVICE, cache=remembered(question))

    assert choice.cached
    assert choice.layout is Layout.CSR
    assert f"measured before on {question.shape}" in choice.reason


def test_remembered_trials_are_decided_anew_for_another_number_of_uses() -> None:
    many = Question(ordinary(), columns=8, uses=1000)
    few = replace(many, uses=1)
    cache = remembered(many, more={"csr f32": Trial(1e-3, 0.1)})

    found = [choose.layout(each, never, **DEVICE, cache=cache).layout for each in (many, few)]

    assert found == [Layout.CSR, Layout.DENSE]


@pytest.mark.parametrize(
    "other",
    [{"device": "another card", "driver": "1.0"}, {"device": "a card", "driver": "1.1"}],
    ids=["device", "driver"],
)
def test_trials_of_another_device_or_driver_do_not_count(other: dict[str, str]) -> None:
    question = Question(ordinary(), columns=8, uses=1000)

    choice = choose.layout(question, constant(dense=1.0), **other, cache=remembered(question))

    assert not choice.cached
    assert choice.layout is Layout.DENSE


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"edition": trials.EDITION - 1}, "it is of edition"),
        ({"more": {"dense": Trial(-1.0, 0.0)}}, "dense took -1.0 s"),
        ({"more": {"csr f32": Trial(nan, 0.0)}}, "csr f32 took nan s"),
        ({"more": {"ellpack f32": Trial(1.0, 0.0)}}, "'ellpack f32' is no candidate"),
        ({"trials": {"csr f32": Trial(1e-9, 0.0)}}, "no trial of dense"),
        ({"trials": {"dense": Trial(1e-9, 0.0)}}, "no trial of a sparse layout that fits"),
        (
            {"trials": {"dense": Trial(1.0, 0.0), "nm 1:4 f32": Trial(1e-9, 0.0)}},
            "no trial of a sparse layout that fits",
        ),
        ({"trials": {}}, "no trial of dense"),
    ],
)
def test_stale_or_senseless_memories_are_refused_and_measured_again(
    entry: dict[str, object], why: str
) -> None:
    question = Question(ordinary(), columns=8, uses=1000)

    choice = choose.layout(
        question, constant(sell=0.5), **DEVICE, cache=remembered(question, **entry)
    )

    assert not choice.cached
    assert choice.layout is Layout.SELL
    assert "what was remembered is not used: " in choice.reason
    assert why in choice.reason


# Properties


FEATURES = MATRICES.map(seen)
TRIALS = st.builds(Trial, st.floats(1e-6, 1.0), st.floats(0.0, 1.0))
ANSWERS = st.fixed_dictionaries(
    {name: st.one_of(TRIALS, st.just(Failure("broken"))) for name in EVERY}
)


@given(FEATURES, st.integers(0, 512), st.integers(0, 10**6), ANSWERS)
def test_no_choice_is_worse_than_dense_by_its_own_trials(
    found: Features, columns: int, uses: int, answers: dict[str, Answer]
) -> None:
    question = Question(found, columns, uses)

    choice = chosen(question, lambda one: answers[one.name])

    assert choice.candidate in candidates.fitting(found)
    tried = {c: answer for c, answer in choice.measured.items() if isinstance(answer, Trial)}
    if not tried:
        assert choice.layout is Layout.DENSE
        return
    total = tried[choice.candidate].total(uses)
    assert total * (1 - choose.MARGIN) <= min(each.total(uses) for each in tried.values())
    if DENSE in tried:
        assert total <= tried[DENSE].total(uses)


@given(FEATURES, st.integers(0, 512), ANSWERS, st.sampled_from(list(Goal)))
def test_the_same_answers_give_the_same_choice(
    found: Features, columns: int, answers: dict[str, Answer], goal: Goal
) -> None:
    question = Question(found, columns, 100, goal=goal)

    first, second = (chosen(question, lambda one: answers[one.name]) for _ in range(2))

    assert first == second


@given(FEATURES, st.integers(0, 512), ANSWERS)
def test_what_was_chosen_is_recalled_from_its_own_trials(
    found: Features, columns: int, answers: dict[str, Answer]
) -> None:
    question = Question(found, columns, 1000)
    first = chosen(question, lambda one: answers[one.name])
    held = {c.name: told for c, told in first.measured.items() if isinstance(told, Trial)}
    cache = {Key(question.shape, **DEVICE): Remembered(trials.EDITION, held)}

    again = choose.layout(question, lambda one: answers[one.name], **DEVICE, cache=cache)

    assert again.candidate == first.candidate
    assert again.cached == ("dense" in held and len(held) > 1)
