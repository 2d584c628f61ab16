"""The committed figures of both ways to add up: complete, and the choice between them is right."""

import json
from statistics import median

import pytest

from ops.bench.spiking_paths import NAMES, RATES, RESULTS

Found = dict[str, dict[str, list[float]]]


@pytest.fixture(scope="module")
def rates() -> Found:
    return dict(json.loads(RESULTS.read_text())["rates"])


def test_every_rate_was_measured_on_every_way(rates: Found) -> None:
    assert set(rates) == set(map(str, RATES))
    assert all(set(one) == set(NAMES) and all(map(len, one.values())) for one in rates.values())


def test_the_chosen_way_is_never_far_from_the_faster(rates: Found) -> None:
    for one in rates.values():
        events, blas, chosen = (median(one[name]) for name in ("events", "blas", "chosen"))
        assert chosen < 1.2 * min(events, blas) + 2e-4  # counting spikes takes its share


def test_cost_follows_the_spikes(rates: Found) -> None:
    silent, busy = (median(rates[rate]["chosen"]) for rate in ("0.0", "0.2"))

    assert silent < busy / 8
