"""`ellesmere compress`: a smaller variant of a model, kept only when it is good enough."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.console import RenderableType

    from shared.contracts.v1.jobs import JobFinished

MILLI = 1e3


class Method(StrEnum):
    """How weights are made smaller."""

    INT8 = "int8"
    PRUNE_CSR = "prune_csr"
    PRUNE = "prune"


class Values(StrEnum):
    """How values of a sparse layer are stored."""

    F32 = "f32"
    F16 = "f16"
    I8 = "i8"


class Objective(StrEnum):
    """What must become better."""

    LATENCY = "latency"
    SIZE = "size"
    BOTH = "both"


Name = Annotated[str, typer.Argument(help="Name of the model.")]
How = Annotated[Method, typer.Option("--method", help="How weights are made smaller.")]
Data = Annotated[Path, typer.Option(help=".npz with `x` and `labels` that no training has seen.")]
Sparsity = Annotated[float, typer.Option(help="Share of zeros, for prune and prune_csr.")]
Stored = Annotated[Values, typer.Option("--values", help="How prune stores values.")]
Goal = Annotated[Objective, typer.Option("--objective", help="What must become better.")]
MaxDrop = Annotated[float, typer.Option(help="Accuracy that may be lost, 0.01 is one point.")]
Class = Annotated[str, typer.Option("--class", help="Class of workers that will serve.")]
Batch = Annotated[int, typer.Option(min=1, max=4096, help="Rows of a timed call.")]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")]


def compress(  # noqa: PLR0913 - one parameter per option
    session: Session,
    name: Name,
    data: Data,
    method: How = Method.INT8,
    sparsity: Sparsity = 0.9,
    values: Stored = Values.F32,
    objective: Goal = Objective.LATENCY,
    max_drop: MaxDrop = 0.01,
    worker_class: Class = "",
    batch: Batch = 1,
    timeout: Timeout = 1800.0,
) -> None:
    """Compress a model, measure it, and keep it only if accuracy and objective hold.

    A refusal is an answer with numbers, not an error. `prune` gives each layer the layout that was
    fastest on the class that will serve it (with --objective size the smallest), or leaves it so.
    Example: ellesmere compress digits --method int8 --data held_out.npz
    """
    from ops.cli import bodies, records, remote, rows

    body = bodies.checked(
        {
            "kind": "compress",
            "model": name,
            "method": method.value,
            "sparsity": sparsity,
            "values": values.value if method is Method.PRUNE else None,
            "objective": objective.value,
            "max_accuracy_drop": max_drop,
            "worker_class": worker_class or None,
            "batch": batch,
        }
    )
    tensors = rows.load(data, ("x", "labels"))
    record = remote.run_job(session, body, tensors, timeout=timeout)
    session.show(records.value(record), lambda: _screen(record))
    records.end(session, record)


def _screen(record: "JobFinished") -> "RenderableType":
    """The verdict in front, the new variant beside what it was made from."""
    from rich.console import Group

    from ops.cli import records
    from shared.contracts.v1.models import Verdict

    found = record.report.get("verdict")
    if not isinstance(found, dict):
        return records.table(record)
    verdict = Verdict.model_validate(found)
    shown = columns("", "before", "after")
    interval = f"{verdict.accuracy_low:.2%} to {verdict.accuracy_high:.2%}"
    before, after = verdict.baseline_accuracy, verdict.accuracy
    shown.add_row("accuracy", f"{before:.2%}", f"{after:.2%} ({interval})")
    shown.add_row("bytes", f"{verdict.baseline_bytes:,}", f"{verdict.bytes:,}")
    times = (verdict.baseline_seconds, verdict.seconds)
    shown.add_row(f"ms on {verdict.worker_class}", *(f"{time * MILLI:.3f}" for time in times))
    return Group(verdict.reason, shown, _layers(record))


def _layers(record: "JobFinished") -> "RenderableType":
    """What runs each layer now, and why."""
    shown = columns("layer", "operator", "zeros", "why")
    layers = record.report.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        zeros = f"{layer['sparsity']:.0%}"
        shown.add_row(layer["step"], layer["operator"], zeros, layer["reason"])
    return shown
