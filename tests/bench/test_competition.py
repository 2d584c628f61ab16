"""The committed figures of learning without labels: complete, and what the page says."""

import json

import pytest

from ops.bench import competition, faithful_table
from ops.bench.competition import GOAL, PAGE, RESULTS


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:  # type: ignore[type-arg]  # JSON
    return dict(json.loads(RESULTS.read_text()))


def test_the_page_is_made_from_the_results(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    assert PAGE.read_text() == competition.page(found)


def test_there_are_ten_seeds_of_a_clean_tree(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    assert len(found["seeds"]) == 10
    assert "dirty" not in found["machine"]["commit"]


def test_neurons_that_compete_are_right_on_85_of_100(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    middle, half = faithful_table.interval(faithful_table.points(found["seeds"], "accuracy"))

    assert middle - half >= GOAL
