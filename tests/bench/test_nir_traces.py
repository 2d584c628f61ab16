"""What is told of other simulators' NIR files is what was found."""

import json
from pathlib import Path

import nir
import numpy as np
import pytest

from ops.bench import nir_rules, nir_traces
from ops.bench.nir_rules import Rule
from ops.bench.nir_traces import Explained, Trace
from services.compressor.importers import nir_file
from tests.services.nir_files import affine, chain, lif

PAGE = Path(nir_traces.__file__).parents[1] / "docs" / "nir.md"


def found() -> list[Trace]:
    return [Trace(**row) for row in json.loads(nir_traces.RESULTS.read_text())["traces"]]


def explained() -> list[Explained]:
    return [Explained(**row) for row in json.loads(nir_traces.RESULTS.read_text())["rules"]]


def test_the_page_shows_the_results() -> None:
    assert nir_traces.table(found()) in PAGE.read_text()
    assert nir_traces.rules(explained()) in PAGE.read_text()


def test_what_differs_is_explained_to_the_last_spike_by_the_rule_that_the_page_names() -> None:
    assert {(one.library, one.node): one.apart for one in explained()} == dict.fromkeys(
        nir_rules.RULES, 0
    )


def stepped(neuron: nir.NIRNode, x: list[float], rule: Rule) -> list[int]:
    """Steps of 1 s in which a neuron spikes that reads x as it comes."""
    data = chain(nir.Affine(np.ones((1, 1)), np.zeros(1)), neuron, size=1, made=1)
    trains = np.array(x).reshape(1, -1, 1)
    found = nir_rules.spikes(nir_file.decode(data), trains, 1.0, rule)
    return [int(step) for step in np.flatnonzero(found)]


def test_each_departure_from_eulers_rule_by_hand() -> None:
    one, ones = np.ones(1), [1.0] * 6

    # 1, 2 -> 0, 1, 2 -> 0; where a step is lost 1, 2 -> 0, (1) -> 0, 1, 2 -> 0
    assert stepped(nir.IF(one, 1.5 * one), ones, Rule()) == [1, 3, 5]
    assert stepped(nir.IF(one, 1.5 * one), ones, Rule(lost=True)) == [1, 4]

    # 1, 2, 3 -> 0; a threshold of 2 that may be met: 1, 2 -> 0
    assert stepped(nir.IF(one, 2 * one), ones, Rule()) == [2, 5]
    assert stepped(nir.IF(one, 2 * one), ones, Rule(meets=True)) == [1, 3, 5]

    # time constants of a step: the current is what has just come, the potential is a current
    cuba = nir.CubaLIF(one, one, one, 0 * one, 0.5 * one)
    assert stepped(cuba, [1, 0, 0], Rule()) == [1]
    assert stepped(cuba, [1, 0, 0], Rule(ends=True)) == [0]


@pytest.mark.parametrize(
    ("library", "node"),
    [
        *((library, "LIF") for library in nir_traces.PEER_NAMES),
        ("snntorch", "LIF that reads itself, reset_delay=False"),
        ("spikingjelly", "Conv2d, LIF, AvgPool2d, Flatten, Linear, LIF"),
        ("norse", "Conv2d, LIF"),
    ],
)
def test_leaky_neurons_of_every_library_spiked_as_ours_by_eulers_rule(
    library: str, node: str
) -> None:
    (row,) = [
        one for one in found() if (one.library, one.node, one.rule) == (library, node, "euler")
    ]

    assert row.spikes > 4000
    assert row.apart == 0


def test_a_file_is_imported_by_the_rule_that_is_asked_for() -> None:
    data = chain(affine(12, 5), lif(5))

    euler, exact = (
        nir_traces._imported(data, dt=1e-3, steps=5, rule=rule) for rule in nir_traces.RULES
    )

    assert euler.steps[1].attributes["decay"] == pytest.approx(0.9)
    assert exact.steps[1].attributes["decay"] == pytest.approx(0.904837)  # exp(-0.1)


def test_a_refused_file_says_why() -> None:
    with pytest.raises(ValueError, match="no NIR file"):
        nir_traces._imported(b"", dt=1e-3, steps=5, rule="exact")
