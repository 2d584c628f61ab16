"""`ellesmere model export`: a variant of a model as a file for other programs."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import models
from ops.cli.session import Session

if TYPE_CHECKING:
    from shared.client.client import Client
    from shared.contracts.v1.jobs import Body, JobFinished
    from shared.tensors.layouts import Tensor


class Format(StrEnum):
    """What is written."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"
    NIR = "nir"


ENDINGS = {f".{format_.value}": format_ for format_ in Format}
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Variant = Annotated[
    str | None, typer.Option(help="One of its variants; the default one if absent.")
]
Kind = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="By the ending of the file if absent. onnx: float32, INT8 and INT4 behind "
        "DequantizeLinear, sparse weights written out. "
        "safetensors: everything as it is stored, and a .json with the manifest beside it. "
        "nir: layers of spiking neurons.",
    ),
]
Step = Annotated[
    float, typer.Option(help="nir: seconds that a step lasts.", callback=models.positive)
]
Output = Annotated[Path, typer.Option(help="File to write.")]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")]


def export(  # noqa: PLR0913 - one parameter per option
    session: Session,
    name: Name,
    output: Output,
    variant: Variant = None,
    format_: Kind = None,
    dt: Step = 1e-3,
    timeout: Timeout = 600.0,
) -> None:
    """Write a variant of a model to a file.

    Example: ellesmere model export digits --variant int8 --output digits.onnx
    """
    from ops.cli import bodies, records, remote
    from shared.contracts.v1.jobs import Status

    kind = format_ or _by_ending(output)
    body = bodies.checked(
        {
            "kind": "compress",
            "model": name,
            "action": "export",
            "variant": variant,
            "format": kind.value,
            "dt": dt if kind is Format.NIR else None,
        }
    )
    record, tensors = remote.call(session, lambda client: _exported(session, client, body, timeout))
    if record.status is Status.SUCCEEDED:
        output.write_bytes(tensors["file"].values.tobytes())
        if kind is Format.SAFETENSORS:
            manifest = json.dumps(record.report["manifest"], indent=2)
            output.with_suffix(".json").write_text(manifest + "\n")
    session.show(records.value(record), lambda: _words(record, output))
    records.end(session, record)


def _by_ending(output: Path) -> Format:
    from shared.contracts.errors import InvalidUsage

    if output.suffix not in ENDINGS:
        raise InvalidUsage(f"{output} ends in none of {', '.join(ENDINGS)}: add --format")
    return ENDINGS[output.suffix]


async def _exported(
    session: Session, client: "Client", body: "Body", timeout: float
) -> "tuple[JobFinished, dict[str, Tensor]]":
    from ops.cli import remote

    receipt = await client.submit(body)
    await remote.follow(session, client, receipt.job, timeout=timeout)
    return await client.result(receipt.job, timeout=timeout)


def _words(record: "JobFinished", output: Path) -> str:
    report = record.report
    if "bytes" not in report:
        return f"nothing was written: the job {record.status}"
    return f"{output}: {report['model']} {report['variant']}, {report['bytes']:,} bytes"
