"""Choosing a layout: decisions against arithmetic by hand, and bad input."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from shared.sparse import candidates, choose
from shared.sparse.candidates import DENSE, Candidate
from shared.sparse.choose import Goal, Question
from shared.sparse.trials import Answer, Failure, Trial
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, dense
from tests.numerics import sparse_samples
from tests.numerics.choices import CSR, FEW, chosen, constant, ordinary, seen

pytestmark = pytest.mark.usefixtures("everything_is_tried")


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
