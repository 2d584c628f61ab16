"""`ellesmere model parity`: how close the steps of a NIR file come to its equations."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.models import Rule, Step, Steps
from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from services.compressor.importers.nir_parity import Parity

MILLI = 1e3
File = Annotated[Path, typer.Argument(help="A .nir file of your own; it is read on this machine.")]
Share = Annotated[float, typer.Option(min=0.0, max=1.0, help="Of inputs that spike in a step.")]


def parity(
    session: Session,
    file: File,
    dt: Step = 1e-3,
    steps: Steps = 1000,
    rule: Rule = "exact",
    share: Share = 0.2,
) -> None:
    """Compare a NIR file as it would be served with its equations in float64, node by node; needs
    no stack.

    Example: ellesmere model parity net.nir --dt 0.001
    """
    from ops.cli import models
    from services.compressor.importers import nir_parity

    content = models.read(file)
    with session.talk.status(f"stepping {file.name}"):
        found = nir_parity.parity(content, dt=dt, steps=steps, rule=rule, share=share)
    session.show({"nodes": [asdict(one) for one in found]}, lambda: _table(found))


def _table(found: "Sequence[Parity]") -> "Table":
    shown = columns("node", "type", "neurons", "spikes", "apart", "shift", "membrane", "as a whole")
    for one in found:
        shown.add_row(
            one.node,
            one.kind,
            f"{one.neurons:,}",
            f"{one.spikes:,}",
            f"{one.apart:,}",
            "-" if one.shift is None else f"{one.shift * MILLI:g} ms",
            f"{one.membrane:.1e}",
            f"{one.apart_as_a_whole:,}",
        )
    return shown
