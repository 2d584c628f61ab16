"""What a run of the tuner measures, for how long, and what it leaves in the store."""

import pytest

from services.gpu_worker.tuned import plan, problems
from services.gpu_worker.tuned.entry import Entry
from services.gpu_worker.tuned.plan import Measured, Plan
from services.gpu_worker.tuned.problems import Problem
from services.gpu_worker.tuned.search import Found
from shared.contracts.errors import InvalidUsage
from shared.operators import catalog

FIRST, SECOND, THIRD, *_ = problems.of("gemm_f32")


def entry(problem: Problem, wrows: int) -> Entry:
    values = {"wrows": wrows}
    return Entry(problem.operator, problem.shape, problem.name, values, 0.1, 0.2, 11)


def found(wrows: int | None) -> Found:
    values = {} if wrows is None else {"wrows": wrows}
    return Found(values, 0.1, 0.2, 11, (), complete=True)


def test_every_operator_has_its_first_problem_before_any_has_a_second() -> None:
    wanted = plan.problems([])

    tunable = {spec.name for spec in catalog.CATALOG if problems.of(spec.name)}
    assert {problem.operator for problem in wanted[: len(tunable)]} == tunable
    assert len(wanted) == sum(len(problems.of(name)) for name in tunable)
    assert wanted == plan.problems([])


def test_only_what_is_asked_for_is_measured() -> None:
    assert plan.problems(["relu", "gemm_f32"])[:2] == (FIRST, problems.of("relu")[0])
    with pytest.raises(InvalidUsage, match="nothing to tune for 'gemm_f3'"):
        plan.problems(["gemm_f3"])


def test_time_is_shared_between_what_is_left() -> None:
    made = Plan((FIRST, SECOND, THIRD), (), end=90.0)

    assert made.share(FIRST, now=0.0) == 30.0
    assert made.share(SECOND, now=10.0) == 40.0  # the first one took 10 s, (90 - 10) / 2
    assert made.share(THIRD, now=89.0) == 1.0
    assert made.share(THIRD, now=90.0) is None


def test_stored_values_of_a_class_are_found_again() -> None:
    made = Plan((FIRST, SECOND), (entry(SECOND, 8),), end=1.0)

    assert made.values(FIRST) is None
    assert made.values(SECOND) == {"wrows": 8}


def test_a_class_measured_anew_has_its_new_outcome_and_others_keep_theirs() -> None:
    known = (entry(FIRST, 8), entry(SECOND, 8), entry(THIRD, 8))
    rows = [
        Measured(FIRST, found(2)),
        Measured(SECOND, found(None)),  # gains nothing any more
        Measured(THIRD, skipped="the budget was spent"),
    ]

    kept = plan.merged(known, rows)

    assert {each.shape: each.values["wrows"] for each in kept} == {FIRST.shape: 2, THIRD.shape: 8}
