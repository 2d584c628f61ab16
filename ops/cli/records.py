"""How a job ended: for people, as JSON, and as an exit code."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ops.cli.failures import DEADLINE, FAILED
from ops.cli.session import Session, columns
from shared.contracts.v1.jobs import JobFinished, Status
from shared.tensors.layouts import Layout, Tensor

if TYPE_CHECKING:
    from rich.table import Table

MILLI = 1e3


def end(session: Session, record: JobFinished) -> None:
    """Leave with the job's exit code: 0 succeeded, 1 failed or cancelled, 5 expired."""
    if record.status is Status.SUCCEEDED:
        return
    if failure := record.failure:
        sys.stderr.write(f"error: [{failure.code}] {failure.message}\nhint:  {failure.fix}\n")
    else:
        sys.stderr.write(f"error: [EL-1301] job {record.job} ended as {record.status}\n")
    raise typer.Exit(DEADLINE if record.status is Status.EXPIRED else FAILED)


def value(record: JobFinished, tensors: Mapping[str, Tensor] | None = None) -> dict[str, object]:
    """The record as JSON, with the types of its tensors."""
    shown = record.model_dump(mode="json", exclude_none=True)
    if tensors is not None:
        shown["outputs"] = {name: _type(tensor) for name, tensor in tensors.items()}
    return shown


def table(record: JobFinished, tensors: Mapping[str, Tensor] | None = None) -> "Table":
    """The record as two columns."""
    from rich.table import Table

    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="dim")
    shown.add_column(overflow="fold")
    timing = record.timing
    times = {"queued": timing.queued, "fetch": timing.fetch, "run": timing.run}
    rows = {
        "job": record.job,
        "status": str(record.status),
        "kind": record.kind,
        "worker": f"{record.worker} ({record.worker_class})" if record.worker else "",
        "device": record.device,
        "attempt": str(record.attempt) if record.worker else "",
        "time": ", ".join(
            f"{name} {seconds * MILLI:.2f} ms" for name, seconds in times.items() if seconds
        ),
        **{f"report.{key}": str(item) for key, item in record.report.items()},
        **{f"output {name}": _words(tensor) for name, tensor in (tensors or {}).items()},
    }
    for name, text in rows.items():
        if text:
            shown.add_row(name, text)
    return shown


def activity(layers: Mapping[str, Mapping[str, float]]) -> "Table":
    """What every layer of neurons did, as a job reported it; see network.activity."""
    shown = columns("layer", "neurons", "spikes", "silence", "operations", "of dense", "estimate")
    for layer, one in layers.items():
        shown.add_row(
            layer,
            f"{one['neurons']:,}",
            f"{one['spikes']:,}",
            f"{one['silence']:.1%}",
            f"{one['operations']:,}",
            f"{one['operations'] / max(one['dense'], 1):.1%}",
            f"{one['joules'] * 1e9:.3g} nJ",
        )
    return shown


def energy(told: Mapping[str, Any]) -> str:
    """What sensors of the device told while the model ran; see chassis.energy."""
    if "unknown" in told:
        return f"measured energy: unknown, {told['unknown']}"
    each = told["joules"] / told["runs"] * MILLI
    over = f"{told['joules']:.3g} J in {told['runs']:,} runs and {told['seconds']:.3g} s"
    return f"measured energy: {each:.3g} mJ a run ({over}; {told['sensor']}, all that ran there)"


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write output tensors: .safetensors in any layout, .npz or .npy dense ones.

    Raises:
        InvalidFile: the format cannot hold them.
    """
    from ops.cli import arrays
    from shared.contracts.errors import InvalidFile
    from shared.tensors import container

    if path.suffix == ".safetensors":
        path.write_bytes(container.pack(tensors))
        return
    stored = [name for name, tensor in tensors.items() if tensor.layout is not Layout.DENSE]
    if stored:
        raise InvalidFile(f"{', '.join(stored)} is not dense: write to a .safetensors file")
    arrays.save(path, {name: tensor.values for name, tensor in tensors.items()})


def _type(tensor: Tensor) -> dict[str, object]:
    return {"layout": tensor.layout, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _words(tensor: Tensor) -> str:
    return f"{tensor.layout} {tensor.dtype} {list(tensor.shape)}"
