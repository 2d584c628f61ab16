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


def told(seeds: dict[str, dict[str, float]], name: str) -> tuple[float, float]:
    """Mean over the seeds [%], and the lower end of its interval."""
    middle, half = faithful_table.interval(faithful_table.points(seeds, name))
    return middle, middle - half


@pytest.mark.parametrize("of", quiet_digits.OF)
@pytest.mark.parametrize("code", quiet_digits.CODES)
def test_95_of_100_places_are_silent_where_the_hidden_layer_pays(
    found: dict[str, dict],  # type: ignore[type-arg]
    code: str,
    of: str,
) -> None:
    _, least = told(found["seeds"], f"{quiet_digits.key(code, 0.02)} silence of {of}")

    assert least >= 95.0


def test_few_spikes_are_right_on_96_of_100(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    four, least = told(found["seeds"], quiet_digits.key("four", 0.02))
    one, _ = told(found["seeds"], quiet_digits.key("one", 0.02))

    assert four > least >= 96.0
    assert one >= 96.0  # in the mean; its interval reaches below
