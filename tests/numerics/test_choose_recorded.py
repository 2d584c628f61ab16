"""The choice held to recorded times: sixty matrices, every layout timed; nothing is timed here.

ops/bench/results/choosing.json is what `python -m ops.bench.choosing` wrote, with its machine. A
trial sees the first rounds, hindsight the others.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from statistics import mean, median

import pytest

from ops.bench import choosing, variety
from shared.sparse import candidates, choose, features, trials
from shared.sparse.candidates import EVERY
from shared.sparse.choose import Choice
from shared.sparse.trials import Key, Remembered, Trial

SERVED = 100_000  # uses
ON = {"device": "the recorded one", "driver": "as recorded"}


@pytest.fixture(scope="module")
def found() -> Mapping[str, object]:
    if not choosing.RESULTS.exists():
        pytest.skip(f"no recording: run python -m ops.bench.choosing to write {choosing.RESULTS}")
    held: dict[str, object] = json.loads(choosing.RESULTS.read_text())
    return held


@pytest.fixture(scope="module")
def cases(found: Mapping[str, object]) -> list[choosing.Case]:
    return choosing.cases_of(found)


def totals(case: choosing.Case, uses: int) -> dict[str, float]:
    """Seconds of each candidate in hindsight: one conversion and every use."""
    times = case["times"]
    assert isinstance(times, dict)
    rounds = slice(choosing.TRIAL_ROUNDS, None)
    return {
        name: held["conversion_s"] + uses * 1e-6 * median(held["samples_us"][rounds])
        for name, held in times.items()
    }


def test_the_recording_holds_every_matrix_and_the_machine(
    found: Mapping[str, object], cases: list[choosing.Case]
) -> None:
    machine = found["machine"]
    assert isinstance(machine, dict)
    assert {"cpu", "cores", "commit", "date"} <= machine.keys()
    assert {case["matrix"] for case in cases} == {one.name for one in variety.samples()}
    assert len(variety.samples()) == 60
    assert {case["columns"] for case in cases} == set(choosing.COLUMNS)


def test_recorded_features_are_those_of_the_matrices(cases: list[choosing.Case]) -> None:
    known: dict[object, dict[str, object]] = {
        case["matrix"]: case["features"]  # type: ignore[misc]  # as JSON has it
        for case in cases
    }

    for sample in variety.samples()[::12]:
        seen = asdict(features.of(variety.make(sample)))

        found = dict(known[sample.name])
        assert found.pop("row_variance") == pytest.approx(seen.pop("row_variance"))
        assert found == json.loads(json.dumps(seen))


def test_every_candidate_that_fits_was_timed(cases: list[choosing.Case]) -> None:
    for case in cases:
        question = choosing.question_of(case, SERVED)
        fitting = {one.name for one in candidates.fitting(question.features)}

        assert fitting == totals(case, SERVED).keys(), case["matrix"]


def test_choices_cost_under_five_percent_over_the_best_in_hindsight(
    cases: list[choosing.Case],
) -> None:
    regrets = []
    for case in cases:
        known = totals(case, SERVED)
        chosen = choosing.choice_of(case, SERVED).candidate.name
        regrets.append(known[chosen] / min(known.values()) - 1.0)

    assert mean(regrets) < 0.05


@pytest.mark.parametrize("uses", [1, 100, SERVED])
def test_no_choice_loses_to_dense(cases: list[choosing.Case], uses: int) -> None:
    lost = [
        (case["matrix"], case["columns"], known[chosen] / known["dense"])
        for case in cases
        for known, chosen in [(totals(case, uses), choosing.choice_of(case, uses).candidate.name)]
        if known[chosen] > known["dense"]
    ]

    assert lost == []


def test_few_uses_are_worth_no_conversion(cases: list[choosing.Case]) -> None:
    once = [choosing.choice_of(case, 1) for case in cases]
    often = [choosing.choice_of(case, SERVED) for case in cases]

    assert mean(one.conversion_s for one in once) < mean(one.conversion_s for one in often)


def test_several_layouts_and_dense_are_each_best_somewhere(cases: list[choosing.Case]) -> None:
    picked = {choosing.choice_of(case, SERVED).layout.value for case in cases}

    assert len(picked) >= 3
    assert "dense" in picked


def test_trials_of_a_neighbour_of_the_same_class_lose_little(
    cases: list[choosing.Case],
) -> None:
    cache: dict[Key, Remembered] = {}
    regrets = []
    for case in cases:
        question = choosing.question_of(case, SERVED)
        key = Key(question.shape, **ON)
        choice = choose.layout(
            question, lambda one, case=case: choosing.trial_of(case, one), **ON, cache=cache
        )
        cache.setdefault(key, remembered(choice))
        if choice.cached:
            known = totals(case, SERVED)
            regrets.append(known[choice.candidate.name] / min(known.values()) - 1.0)

    assert all(choice in EVERY for entry in cache.values() for choice in entry.trials)
    assert not regrets or mean(regrets) < 0.15


def remembered(choice: Choice) -> Remembered:
    held = {c.name: told for c, told in choice.measured.items() if isinstance(told, Trial)}
    return Remembered(trials.EDITION, held)
