"""What is told of the recurrent network beside Brian2 is what was measured."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ops.bench import brunel, brunel_network
from services.cpu_worker.engine import SCIPY
from shared.network import shapes

PAGE = Path(brunel.__file__).parents[1] / "docs" / "recurrent-speed.md"


def test_the_page_shows_the_results() -> None:
    assert brunel.table(json.loads(brunel.RESULTS.read_text())) in PAGE.read_text()


def test_both_sides_ran_often_enough_and_are_about_as_active() -> None:
    results = json.loads(brunel.RESULTS.read_text())["results"]

    rates = [sum(held["rates"]) / len(held["rates"]) for held in results.values()]
    assert all(len(held["seconds"]) == brunel.ROUNDS for held in results.values())
    assert min(rates) > 0.85 * max(rates)


def test_our_side_goes_on_where_the_last_run_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brunel_network.engine, "start", lambda *_, **__: SCIPY)
    model = replace(brunel.Model(), excitatory=80, inhibitory=20, sources=1000, steps=300)

    run = brunel_network.build(asdict(model))

    assert all(spikes > 0 for _, spikes in (run(), run()))


def test_synapses_are_those_of_the_model() -> None:
    model = replace(brunel.Model(), excitatory=400, inhibitory=100, sources=10, steps=5)

    network = brunel_network.network_of(asdict(model))

    shapes.check(network)
    synapses = network.weights["r"]
    assert synapses.shape == (16 * 500, 500)
    assert 0.09 < (synapses.type.nonzeros or 0) / 500**2 < 0.11
