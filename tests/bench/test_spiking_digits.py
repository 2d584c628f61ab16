"""The committed figures of spiking networks on digits: complete, and what the page says."""

import json

import pytest

from ops.bench import faithful_table, quiet_digits, spiking_digits
from ops.bench.spiking_digits import PAGE, RESULTS


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:  # type: ignore[type-arg]  # JSON
    return dict(json.loads(RESULTS.read_text()))


def test_the_page_is_made_from_the_results(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    assert PAGE.read_text() == spiking_digits.page(found)


def test_there_are_ten_seeds_of_a_clean_tree(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    assert len(found["seeds"]) == 10
    assert "dirty" not in found["machine"]["commit"]


def test_a_network_that_is_trained_with_spikes_is_right_on_96_of_100(
    found: dict[str, dict],  # type: ignore[type-arg]
) -> None:
    middle, half = faithful_table.interval(faithful_table.points(found["seeds"], "trained"))

    assert middle - half >= 96.0


@pytest.mark.parametrize("steps", [32, 64, 128])
def test_a_converted_network_stays_within_a_point_of_where_it_came_from(
    found: dict[str, dict],  # type: ignore[type-arg]
    steps: int,
) -> None:
    middle, half = faithful_table.difference(found["seeds"], f"converted {steps}", "relu")

    assert middle - half >= -1.0


@pytest.mark.parametrize("code", quiet_digits.CODES)
def test_few_spikes_are_right_on_96_of_100_and_leave_95_of_100_places_silent(
    found: dict[str, dict],  # type: ignore[type-arg]
    code: str,
) -> None:
    name = quiet_digits.key(code, 0.02)
    names = [name, *(f"{name} silence of {of}" for of in quiet_digits.OF)]

    told = [faithful_table.interval(faithful_table.points(found["seeds"], one)) for one in names]

    least = [middle - half for middle, half in told]
    assert least[0] >= 96.0
    assert min(least[1:]) >= 95.0
