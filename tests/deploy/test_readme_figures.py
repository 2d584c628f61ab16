"""Every figure of the README's speed table is the one in the results file."""

import json
from pathlib import Path

import pytest

from ops.bench import table, tables

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_speed_table_is_made_from_the_committed_results() -> None:
    found = json.loads(table.RESULTS.read_text())

    assert table.markdown(found) in README


def test_results_name_machine_commit_date_and_raw_samples() -> None:
    found = json.loads(table.RESULTS.read_text())

    assert {"cpu", "cores", "commit", "date"} <= found["machine"].keys()
    for by in found["raw"].values():
        for cell in by.values():
            assert len(cell["rates"]) == len(cell["latencies"])
            assert len(cell["steal"]) >= len(cell["rates"])


def test_excerpt_of_sparse_products_is_made_from_the_committed_results() -> None:
    found = json.loads(tables.PAGES["sparse"][1].read_text())

    assert tables.summary(found) in README


@pytest.mark.parametrize("name", tables.PAGES)
def test_pages_of_figures_are_made_from_the_committed_results(name: str) -> None:
    target = tables.PAGES[name][2]

    assert target.read_text() == tables.page(name)
    assert f"ops/docs/{target.name}" in README


@pytest.mark.parametrize("name", tables.PAGES)
def test_results_of_products_hold_raw_samples_and_name_their_surroundings(name: str) -> None:
    found = json.loads(tables.PAGES[name][1].read_text())

    assert {"cpu", "cores", "commit", "date"} <= found["machine"].keys()
    assert all(found["sides"].values())
    for calls in found["cases"].values():
        for call in calls.values():
            assert len(call["steal"]) >= len(call["samples"])
            assert (call["seconds"] is None) == (not call["samples"])
