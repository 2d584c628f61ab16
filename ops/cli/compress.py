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
    ACCURACY = "accuracy"


class Action(StrEnum):
    """What is done."""

    APPLY = "apply"
    ANALYZE = "analyze"
    RECOMMEND = "recommend"
    SEARCH = "search"
    BENCHMARK = "benchmark"


Name = Annotated[str, typer.Argument(help="Name of the model, or an ONNX file to import first.")]
How = Annotated[Method | None, typer.Option("--method", help="One change, in place of a recipe.")]
Data = Annotated[
    Path,
    typer.Option(
        help=".npz with `x` and `labels` that no training has seen; with `train_x` and "
        "`train_labels` recipes may train, with `calibration_x` they calibrate on it."
    ),
]
Recipe = Annotated[Path | None, typer.Option(help="recipe.json: what to do, in stages.")]
What = Annotated[
    Action | None,
    typer.Option(
        "--action",
        help="analyze and recommend tell, benchmark measures all variants, search tries what is "
        "recommended; without --method and --recipe it is search.",
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option("--budget", help="size=0.25 (share, or bytes), latency=0.001 (s), accuracy=0.01."),
]
As = Annotated[
    str, typer.Option("--as", help="Name of the variant; recipes have names of their own.")
]
Folder = Annotated[Path | None, typer.Option("--report", help="Write report, recipe, page there.")]
Sparsity = Annotated[float, typer.Option(help="Share of zeros, for prune and prune_csr.")]
Stored = Annotated[Values, typer.Option("--values", help="How prune stores values.")]
Goal = Annotated[Objective, typer.Option("--objective", help="What must become better.")]
MaxDrop = Annotated[float, typer.Option(help="Accuracy that may be lost, 0.01 is one point.")]
Class = Annotated[str, typer.Option("--class", help="Class of workers that will serve.")]
Batch = Annotated[int, typer.Option(min=1, max=4096, help="Rows of a timed call.")]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")]
OPTIONAL = ("train_x", "train_labels", "calibration_x")


def compress(  # noqa: PLR0913 - one parameter per option
    session: Session,
    name: Name,
    data: Data,
    method: How = None,
    recipe: Recipe = None,
    action: What = None,
    budget: Limits = None,
    variant: As = "",
    report: Folder = None,
    sparsity: Sparsity = 0.9,
    values: Stored = Values.F32,
    objective: Goal = Objective.LATENCY,
    max_drop: MaxDrop = 0.01,
    worker_class: Class = "",
    batch: Batch = 1,
    timeout: Timeout = 1800.0,
) -> None:
    """Compress a model, measure it where it will serve, and keep it only if all holds.

    A refusal is an answer with numbers, not an error. `prune` gives each layer the layout that was
    fastest on the class that will serve it (with --objective size the smallest), or leaves it so.
    Example: ellesmere compress net.onnx --data rows.npz --budget accuracy=0.01 --report found
    """
    from ops.cli import bodies, records, remote, rows
    from ops.report import page

    body = bodies.checked(
        {
            "kind": "compress",
            "model": _model(name),
            "method": method.value if method else None,
            "recipe": _recipe(recipe),
            "action": _action(action, method, recipe),
            "budget": _budget(budget or []),
            "variant": variant or None,
            "sparsity": sparsity,
            "values": values.value if method is Method.PRUNE else None,
            "objective": objective.value,
            "max_accuracy_drop": max_drop,
            "worker_class": worker_class or None,
            "batch": batch,
        }
    )
    tensors = rows.load(data, ("x", "labels"), OPTIONAL if method is None else ())
    _imported(session, name, timeout)
    record = remote.run_job(session, body, tensors, timeout=timeout)
    if report is not None and record.report:
        page.write(record.report, report)
    session.show(records.value(record), lambda: _screen(record))
    records.end(session, record)


def _model(name: str) -> str:
    """The name under which a file is imported; any other name is a model's."""
    return Path(name).stem.lower() if name.endswith(".onnx") else name


def _imported(session: Session, name: str, timeout: float) -> None:
    """Import a file; the same file under the same name is no conflict."""
    from ops.cli import remote

    if name.endswith(".onnx"):
        content = Path(name).read_bytes()
        remote.call(
            session, lambda client: client.add_model(_model(name), content, timeout=timeout)
        )


def _action(action: Action | None, method: Method | None, recipe: Path | None) -> str | None:
    if action is not None:
        return action.value
    return None if method or recipe else Action.SEARCH.value


def _recipe(path: Path | None) -> object:
    """The recipe of a file as JSON has it.

    Raises:
        InvalidRecipe: it is no JSON.
    """
    import json

    from ops.cli.failures import InvalidRecipe

    if path is None:
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidRecipe(f"{path} is no JSON: {error}") from None


def _budget(given: list[str]) -> dict[str, float] | None:
    """Limits by name.

    Raises:
        InvalidUsage: one is not NAME=NUMBER.
    """
    from shared.contracts.errors import InvalidUsage

    found = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise InvalidUsage(
                f"--budget {text!r} is not size=, latency= or accuracy=NUMBER"
            ) from None
        if name not in ("size", "latency", "accuracy"):
            raise InvalidUsage(f"--budget knows size, latency and accuracy, not {name!r}")
    return found or None


def _screen(record: "JobFinished") -> "RenderableType":
    """The verdict in front, the new variant beside what it was made from."""
    from rich.console import Group

    from ops.cli import records
    from shared.contracts.v1.models import Verdict

    tables = [_rows(record, key) for key in TABLES if record.report.get(key)]
    found = record.report.get("verdict")
    if not isinstance(found, dict):
        reason = str(record.report.get("reason", ""))
        return Group(reason, *tables) if tables else records.table(record)
    verdict = Verdict.model_validate(found)
    shown = columns("", "before", "after")
    interval = f"{verdict.accuracy_low:.2%} to {verdict.accuracy_high:.2%}"
    before, after = verdict.baseline_accuracy, verdict.accuracy
    shown.add_row("accuracy", f"{before:.2%}", f"{after:.2%} ({interval})")
    shown.add_row("bytes", f"{verdict.baseline_bytes:,}", f"{verdict.bytes:,}")
    times = (verdict.baseline_seconds, verdict.seconds)
    shown.add_row(f"ms on {verdict.worker_class}", *(f"{time * MILLI:.3f}" for time in times))
    layers = [_layers(record)] if record.report.get("layers") else []
    return Group(verdict.reason, shown, *layers, *tables)


TABLES = {  # of a report -> columns
    "analysis": ("step", "operator", "seconds", "flops", "bytes", "sparsity", "loss"),
    "recommended": ("name", "reason"),
    "candidates": ("name", "accuracy", "bytes", "seconds", "pareto", "reason"),
    "benchmark": ("variant", "worker_class", "accuracy", "low", "high", "seconds", "p99", "bytes"),
}


def _rows(record: "JobFinished", key: str) -> "RenderableType":
    """One table of a report."""
    shown = columns(*TABLES[key])
    rows = record.report[key]
    for row in rows if isinstance(rows, list) else ():
        shown.add_row(*(_cell(row[name]) for name in TABLES[key]))
    return shown


def _cell(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else ""
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{name} {number:.2g}" for name, number in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _layers(record: "JobFinished") -> "RenderableType":
    """What runs each layer now, and why."""
    shown = columns("layer", "operator", "zeros", "why")
    layers = record.report.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        zeros = f"{layer['sparsity']:.0%}"
        shown.add_row(layer["step"], layer["operator"], zeros, layer["reason"])
    return shown
