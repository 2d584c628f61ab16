"""`ellesmere bench`: requests on their way, and products beside those of other libraries."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session

if TYPE_CHECKING:
    from rich.console import Console


class What(StrEnum):
    """What is measured."""

    FLOW = "flow"
    SPARSE = "sparse"
    KERNELS = "kernels"
    QUANTIZED = "quantized"
    SPIKING = "spiking"


Subject = Annotated[
    What,
    typer.Argument(
        help="flow: requests through a stack; sparse: products on the CPU beside MKL, torch, scipy "
        "and numpy; kernels: OpenCL beside obvious kernels, CLBlast and ViennaCL; quantized: INT8 "
        "and INT4 on the CPU beside ONNX Runtime, torch and numpy; spiking: networks on the CPU "
        "beside SpikingJelly, Norse and snnTorch."
    ),
]
Results = Annotated[Path | None, typer.Option(help="Write the results to this JSON file.")]
Found = Mapping[str, object]


def bench(session: Session, what: Subject = What.FLOW, results: Results = None) -> None:
    """Measure side by side in one run; rivals are installed in environments of their own.

    Results are written to ops/bench/results with raw samples, machine, commit and date.
    """
    if what is What.FLOW:
        from ops.bench import flow

        if code := flow.run(results, as_json=session.as_json):
            raise typer.Exit(code)
        return
    measure, table = _product(what)
    found = measure(results, session.talk)
    session.show(found, lambda: table(found))


def _product(
    what: What,
) -> tuple[Callable[[Path | None, "Console"], Found], Callable[[Found], str]]:
    """How to measure, and how to show what was found."""
    from ops.bench import kernels, quantized, quantized_table, sparse, spiking, tables

    if what is What.SPARSE:
        return sparse.run, tables.sparse
    if what is What.QUANTIZED:
        return quantized.run, quantized_table.whole
    if what is What.SPIKING:
        return spiking.run, spiking.whole
    return kernels.run, tables.kernels
