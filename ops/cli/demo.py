"""`ellesmere demo`: the main job on real data, from an ONNX file to a report with pictures."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.session import Session

Report = Annotated[Path, typer.Option(help="Folder of the report.")]


def demo(session: Session, report: Report = Path("demo-report")) -> None:
    """Train, import, profile, compress, serve, kill a worker, classify with spikes, and report."""
    from ops.demo import main

    code = main.run(report, as_json=session.as_json)
    if code:
        raise typer.Exit(code)
