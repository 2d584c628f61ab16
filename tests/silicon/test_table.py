"""The committed table of kernels says what the compiler says."""

import json

import pytest

from ops.bench.silicon import __main__ as script
from ops.bench.silicon import report


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    found = report.document()
    recorded = json.loads(script.RESULTS.read_text())["compiler"]
    if recorded != found["compiler"]:
        pytest.skip(f"the table is from {recorded}, here is {found['compiler']}")
    return found


def test_results_are_what_the_compiler_says(found: dict[str, object]) -> None:
    committed = json.loads(script.RESULTS.read_text())

    assert committed == json.loads(json.dumps(found)), "run python -m ops.bench.silicon"


def test_the_page_shows_the_results(found: dict[str, object]) -> None:
    page = report.page(found, report.rows())

    assert script.PAGE.read_text() == page, "run python -m ops.bench.silicon"
