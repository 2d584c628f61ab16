"""Choices from memory, and what holds for every choice."""

from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sparse import candidates, choose, trials
from shared.sparse.candidates import DENSE, EVERY, Candidate
from shared.sparse.choose import Goal, Question
from shared.sparse.features import Features
from shared.sparse.trials import Answer, Failure, Key, Remembered, Trial
from shared.tensors.layouts import Layout
from tests.numerics.choices import DEVICE, chosen, constant, ordinary, seen
from tests.numerics.sparse_samples import MATRICES

pytestmark = pytest.mark.usefixtures("everything_is_tried")


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
