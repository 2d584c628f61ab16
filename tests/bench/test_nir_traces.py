"""What is told of other simulators' NIR files is what was found."""

import json
from pathlib import Path

import pytest

from ops.bench import nir_traces
from ops.bench.nir_traces import Trace
from tests.services.nir_files import affine, chain, lif

PAGE = Path(nir_traces.__file__).parents[1] / "docs" / "nir.md"


def found() -> list[Trace]:
    return [Trace(**row) for row in json.loads(nir_traces.RESULTS.read_text())["traces"]]


def test_the_page_shows_the_results() -> None:
    assert nir_traces.table(found()) in PAGE.read_text()


@pytest.mark.parametrize(
    ("library", "node"),
    [
        *((library, "LIF") for library in nir_traces.PEER_NAMES),
        ("snntorch", "LIF that reads itself, reset_delay=False"),
    ],
)
def test_leaky_neurons_of_every_library_spiked_as_ours_by_eulers_rule(
    library: str, node: str
) -> None:
    (row,) = [
        one for one in found() if (one.library, one.node, one.rule) == (library, node, "euler")
    ]

    assert row.spikes > 10_000
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
