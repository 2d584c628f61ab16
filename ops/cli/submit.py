"""`ellesmere submit`: hand in a durable job, from options or from a file of JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.session import Session

File = Annotated[
    Path | None, typer.Argument(help="JSON file with the job's body; its `kind` says what it is.")
]
Kind = Annotated[str, typer.Option(help="Kind of the job, when there is no file.")]
Operator = Annotated[str, typer.Option(help="Operator to run.")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attr", help="Attribute of the operator as name=value; may be repeated."),
]
Model = Annotated[str, typer.Option(help="Model to run, for the kind infer.")]
Tensors = Annotated[
    Path | None,
    typer.Option(
        help=".safetensors, .npz or .npy. CSR in .npz: w.indptr, w.indices, w.values, w.shape; "
        "other sparse layouts: w.layout and their parts."
    ),
]
JobId = Annotated[str, typer.Option(help="Id of your choice; the same id is accepted once.")]
Class = Annotated[str, typer.Option("--class", help="Class of workers to pin the job to.")]
Priority = Annotated[int, typer.Option(min=0, max=9, help="0 is served first.")]
Within = Annotated[
    float, typer.Option(min=0.0, help="Seconds until the job is worth nothing; 0: never.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the result.")]
Output = Annotated[Path | None, typer.Option(help="With --wait: write the tensors here.")]


def submit(  # noqa: PLR0913 - one parameter per option
    session: Session,
    file: File = None,
    kind: Kind = "operator",
    operator: Operator = "",
    attributes: Attributes = None,
    model: Model = "",
    tensors: Tensors = None,
    job_id: JobId = "",
    worker_class: Class = "",
    priority: Priority = 4,
    within: Within = 0.0,
    wait: Wait = False,
    output: Output = None,
) -> None:
    """Submit a durable job; when this returns, it is stored and will not be lost.

    Example: ellesmere submit --operator spmm_csr --tensors wx.npz --wait --output y.npz
    """
    import time

    from ops.cli import bodies, jobs, remote, tensor_files

    body = bodies.checked(_read(file) if file else _chosen(kind, operator, attributes or [], model))
    held = tensor_files.load(tensors) if tensors else {}
    receipt = remote.call(
        session,
        lambda client: client.submit(
            body,
            held,
            job_id=job_id or None,
            priority=priority,
            deadline=time.time() + within if within > 0 else None,
            worker_class=worker_class or None,
        ),
    )
    if wait:
        session.say(f"accepted as {receipt.job}")
        jobs.result(session, receipt.job, output)
    else:
        session.show(asdict(receipt), lambda: receipt.job)


def _read(file: Path) -> object:
    """The JSON of a file.

    Raises:
        InvalidFile: it is not JSON.
    """
    from ops.cli.failures import InvalidBody

    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"{file} is not JSON: {error}") from None


def _chosen(kind: str, operator: str, attributes: list[str], model: str) -> dict[str, object]:
    """A body made of options.

    Raises:
        InvalidUsage: neither an operator nor a model nor a file is named.
    """
    from shared.contracts.errors import InvalidUsage

    match kind:
        case "operator" if not operator:
            raise InvalidUsage("name an --operator, or give a JSON file with the job's body")
        case "infer" if not model:
            raise InvalidUsage("name a --model, or give a JSON file with the job's body")
        case "operator":
            pairs = dict(_attribute(text) for text in attributes)
            return {"kind": kind, "operator": operator, "attributes": pairs}
        case "infer":
            return {"kind": kind, "model": model}
        case other:
            return {"kind": other}


def _attribute(text: str) -> tuple[str, object]:
    """`name=value`, the value as JSON where it is JSON, else as text."""
    from shared.contracts.errors import InvalidUsage

    name, separator, value = text.partition("=")
    if not name or not separator:
        raise InvalidUsage(f"--attr takes name=value, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
