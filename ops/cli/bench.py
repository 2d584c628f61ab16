"""`ellesmere bench`: how long a request takes on its way through the suite."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.session import Session

Results = Annotated[Path | None, typer.Option(help="Write the results to this JSON file.")]


def bench(session: Session, results: Results = None) -> None:
    """Measure decisions, interactive round trips and durable jobs on a stack of its own."""
    from ops.bench import flow

    code = flow.run(results, as_json=session.as_json)
    if code:
        raise typer.Exit(code)
