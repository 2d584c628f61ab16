"""Write the table of kernels: ``python -m ops.bench.silicon``. Needs the offline compiler only."""

import json
from pathlib import Path

from ops.bench.silicon import report

RESULTS = Path(__file__).parents[1] / "results" / "silicon.json"
PAGE = Path(__file__).parents[2] / "docs" / "kernels.md"


def main() -> None:
    """Compile everything and write both files."""
    found = report.document()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(report.page(found, report.rows()))


if __name__ == "__main__":
    main()
