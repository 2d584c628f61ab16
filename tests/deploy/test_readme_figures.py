"""Every figure of the README's speed table is the one in the results file."""

import json
from pathlib import Path

from ops.bench import table

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
