"""`ellesmere train`: train a model further or anew, dense or sparse, as a durable job."""

from collections.abc import Mapping
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
    """How weights learn."""

    GRADIENT = "gradient"
    STDP = "stdp"


class Sparse(StrEnum):
    """How the weights that exist are chosen while they are trained."""

    STATIC = "static"
    SET = "set"
    RIGL = "rigl"
    DSR = "dsr"
    GRADUAL = "gradual"


class Optimiser(StrEnum):
    """How a slope becomes a step."""

    ADAM = "adam"
    SGD = "sgd"


class Surrogate(StrEnum):
    """What stands for the slope of a spike."""

    FAST_SIGMOID = "fast_sigmoid"
    ARCTAN = "arctan"
    TRIANGLE = "triangle"


EPOCHS = {Method.GRADIENT: 20, Method.STDP: 4}
Name = Annotated[
    str, typer.Argument(help="Name of the model; with --method stdp it is made if there is none.")
]
Data = Annotated[
    Path,
    typer.Option(
        help=".npz with `train_x` and `train_labels`; with `x` and `labels`, which no training has "
        "seen, the result is measured too."
    ),
]
Variant = Annotated[str, typer.Option("--as", help="Name of the variant that comes out.")]
Learns = Annotated[
    Method, typer.Option("--method", help="stdp: neurons compete and learn without labels.")
]
Neurons = Annotated[
    int | None, typer.Option(min=1, help="That compete, with --method stdp; 400 unless told.")
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="That a row is shown, with --method stdp; 50 unless told.")
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Times that every row is seen; 20 unless told, with --method stdp 4."),
]
Rows = Annotated[int, typer.Option("--batch", min=1, help="Rows of a step.")]
Rate = Annotated[float, typer.Option(help="Learning rate of the first step; it falls by a cosine.")]
Step = Annotated[Optimiser, typer.Option("--optimiser", help="How a slope becomes a step.")]
How = Annotated[Sparse | None, typer.Option("--sparse", help="Keep weights sparse throughout.")]
Zeros = Annotated[float, typer.Option(help="Share of zeros, for --sparse.")]
Every = Annotated[int, typer.Option(min=1, help="Steps between moves of weights, for --sparse.")]
Bits = Annotated[
    int | None, typer.Option(min=2, max=8, help="Round weights while they are trained.")
]
Group = Annotated[
    int | None, typer.Option(min=1, help="Columns per size of a step; without it a whole row.")
]
Activations = Annotated[
    bool, typer.Option(help="Round what layers read to bytes, too; with --bits 8.")
]
Slope = Annotated[
    Surrogate | None, typer.Option("--surrogate", help="What stands for the slope of a spike.")
]
Steep = Annotated[float, typer.Option(help="Of the surrogate.")]
Truncate = Annotated[
    int, typer.Option(min=0, help="Steps that slopes go back through time; 0: all.")
]
Spiking = Annotated[
    float | None,
    typer.Option(
        "--activity",
        help="Share of a layer's neurons and steps that may spike at no cost; what exceeds it is "
        "squared, weighed and added to the loss.",
    ),
]
Dear = Annotated[
    float | None, typer.Option("--activity-weight", help="Of that cost; without it 100.")
]
Last = Annotated[bool, typer.Option(help="The last neurons, whose spikes are the answer, pay too.")]
Fresh = Annotated[bool, typer.Option(help="Start from new random weights.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the order of rows and of all that is random.")]
Class = Annotated[str, typer.Option("--class", help="Class of workers that compute.")]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")]


def train(  # noqa: PLR0913 - one parameter per option
    session: Session,
    name: Name,
    data: Data,
    variant: Variant = "trained",
    method: Learns = Method.GRADIENT,
    neurons: Neurons = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch: Rows = 128,
    rate: Rate = 1e-3,
    optimiser: Step = Optimiser.ADAM,
    sparse: How = None,
    sparsity: Zeros = 0.9,
    every: Every = 100,
    bits: Bits = None,
    group: Group = None,
    activations: Activations = False,
    surrogate: Slope = None,
    steep: Steep = 4.0,
    truncate: Truncate = 0,
    activity: Spiking = None,
    activity_weight: Dear = None,
    activity_outputs: Last = False,
    fresh: Fresh = False,
    seed: Seed = 0,
    worker_class: Class = "cpu",
    timeout: Timeout = 86_400.0,
) -> None:
    """Train a model; the result joins it as a variant. A worker that dies costs seconds, no run.

    Example: ellesmere train digits --data rows.npz --as rigl --fresh --sparse rigl --sparsity 0.95

    Without labels: ellesmere train eyes --data rows.npz --method stdp --neurons 100
    """
    from ops.cli import bodies, records, remote, rows

    body = bodies.checked(
        {
            **{"kind": "train", "model": name, "variant": variant},
            **_method(method, neurons, steps),
            "epochs": epochs or EPOCHS[method],
            "batch": batch,
            "rate": rate,
            "optimiser": optimiser.value,
            "sparse": _sparse(sparse, sparsity, every),
            "rounding": _rounding(bits, group, activations=activations),
            "slope": _slope(surrogate, steep, truncate),
            "activity": _activity(activity, activity_weight, outputs=activity_outputs),
            "fresh": fresh,
            "seed": seed,
            "worker_class": worker_class or None,
        }
    )
    tensors = rows.load(data, ("train_x", "train_labels"), ("x", "labels"))
    record = remote.run_job(session, body, tensors, timeout=timeout)
    session.show(records.value(record), lambda: _screen(record))
    records.end(session, record)


def _method(method: Method, neurons: int | None, steps: int | None) -> dict[str, object]:
    named = None if method is Method.GRADIENT else method.value
    return {"method": named, "stdp": _stdp(neurons, steps)}


def _stdp(neurons: int | None, steps: int | None) -> dict[str, object] | None:
    if neurons is None and steps is None:
        return None
    return {"neurons": neurons, "steps": steps}


def _rounding(
    bits: int | None, group: int | None, *, activations: bool
) -> dict[str, object] | None:
    if bits is None and not activations:
        return None
    return {"bits": bits or 8, "group": group, "activations": activations}


def _sparse(method: Sparse | None, sparsity: float, every: int) -> dict[str, object] | None:
    if method is None:
        return None
    return {"method": method.value, "sparsity": sparsity, "every": every}


def _slope(surrogate: Surrogate | None, steep: float, truncate: int) -> dict[str, object] | None:
    if surrogate is None and not truncate:
        return None
    shape = surrogate or Surrogate.FAST_SIGMOID
    return {"surrogate": shape.value, "steep": steep, "truncate": truncate}


def _activity(
    target: float | None, weight: float | None, *, outputs: bool
) -> dict[str, object] | None:
    """What is given of it; the contract knows the rest."""
    given: dict[str, object] = {"target": target, "weight": weight, "outputs": outputs or None}
    return {name: value for name, value in given.items() if value is not None} or None


def _screen(record: "JobFinished") -> "RenderableType":
    """What came out, beside what the model came with where that was measured, and its spikes."""
    from rich.console import Group

    from ops.cli import records

    report = record.report
    if "variant" not in report:
        return records.table(record)
    if "neurons" in report:
        return _neurons(report)
    shown = columns("variant", "steps", "last loss", "bytes", "accuracy", "before")
    before, after = (report.get(key) for key in ("baseline_accuracy", "accuracy"))
    shown.add_row(
        str(report["variant"]),
        str(report["steps"]),
        f"{report['loss']:.4g}",
        f"{report['weight_bytes']:,}",
        f"{after:.2%}" if isinstance(after, float) else "not measured",
        f"{before:.2%}" if isinstance(before, float) else "",
    )
    spikes = report.get("activity")
    if not isinstance(spikes, dict):
        return shown
    rows = f"\nspikes in {spikes['rows']:,} rows learned from:"
    return Group(shown, rows, records.activity(spikes["layers"]))


def _neurons(report: "Mapping[str, object]") -> "RenderableType":
    """What learned without labels: how sure its accuracy is, and how much it spikes for a row."""
    shown = columns("variant", "neurons", "idle", "shown", "bytes", "accuracy", "95 %", "spikes")
    held, layers = report.get("held_rows"), report.get("layers")
    told = ["not measured", "", ""]
    if isinstance(held, int) and isinstance(layers, dict):
        spikes = ", ".join(
            f"{name} {one['spikes'] / held:.1f} a row" for name, one in layers.items()
        )
        low, high = report["accuracy_low"], report["accuracy_high"]
        told = [f"{report['accuracy']:.2%}", f"{low:.2%} to {high:.2%} on {held} rows", spikes]
    numbers = (report[name] for name in ("neurons", "idle", "steps", "weight_bytes"))
    shown.add_row(str(report["variant"]), *(f"{number:,}" for number in numbers), *told)
    return shown
