"""`ellesmere infer`: run a model on arrays from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from shared.client.client import Client, ModelMetadata
    from shared.contracts.v1.jobs import JobFinished
    from shared.tensors.dtypes import Array

SHOWN = 16  # values of an output that are printed
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Input = Annotated[
    Path,
    typer.Option("--input", help=".npz with an array per input, or .npy for the only one."),
]
Version = Annotated[str, typer.Option(help="Variant; none is the default one.")]
Output = Annotated[Path | None, typer.Option(help="Write the outputs to a .npz or .npy file.")]
Activity = Annotated[
    bool, typer.Option(help="Tell spikes and synaptic operations of every layer instead.")
]
Repeat = Annotated[
    int, typer.Option(min=1, max=10_000, help="With --activity: runs to measure energy over.")
]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds the answer may take.")]


def infer(  # noqa: PLR0913 - one per option
    session: Session,
    name: Name,
    input_: Input,
    version: Version = "",
    output: Output = None,
    activity: Activity = False,
    repeat: Repeat = 1,
    timeout: Timeout = 30.0,
) -> None:
    """Run a model on a batch and print what comes out; one that takes a row at a time gets them one
    by one.

    Example: ellesmere infer digits --input images.npy --output scores.npz
    """
    from ops.cli import arrays, remote

    given = arrays.load(input_)
    if activity:
        counting = {"model": name, "variant": version or None, "activity": True, "repeat": repeat}
        _tell_activity(session, counting, given, timeout)
        return
    outputs = remote.call(
        session, lambda client: _infer(client, name, given, version, timeout), seconds=timeout
    )
    if output:
        arrays.save(output, outputs)
    value = {"model": name, "outputs": {key: _value(array) for key, array in outputs.items()}}
    session.show(value, lambda: _table(outputs))


def _tell_activity(
    session: Session, counting: "Mapping[str, object]", given: "Mapping[str, Array]", timeout: float
) -> None:
    """A durable job that counts spikes, and reads the energy sensor of its device."""
    from ops.cli import bodies, records, remote
    from shared.tensors.layouts import dense

    body = bodies.checked({"kind": "infer", **counting})
    name, version = body.model, body.variant or ""

    async def work(client: "Client") -> "JobFinished":
        fitting = _fitting(await client.metadata(name, version), given)
        receipt = await client.submit(body, {key: dense(array) for key, array in fitting.items()})
        return await remote.follow(session, client, receipt.job, timeout=timeout)

    record = remote.call(session, work, seconds=timeout)
    session.show(records.value(record), lambda: _activity(record))
    records.end(session, record)


def _activity(record: "JobFinished") -> "RenderableType":
    from rich.console import Group

    from ops.cli import records

    layers, energy = record.report.get("layers"), record.report.get("energy")
    if not isinstance(layers, dict) or not isinstance(energy, dict):
        return records.table(record)
    return Group(records.activity(layers), records.energy(energy))


async def _infer(
    client: "Client", name: str, given: "Mapping[str, Array]", version: str, timeout: float
) -> "dict[str, Array]":
    """Run the model on what fits it."""
    metadata = await client.metadata(name, version)
    fitting = _fitting(metadata, given)
    made = [
        await client.infer(name, part, version=version, timeout=timeout)
        for part in _parts(metadata, fitting)
    ]
    return made[0] if len(made) == 1 else _joined(made)


def _parts(metadata: "ModelMetadata", given: "Mapping[str, Array]") -> "list[Mapping[str, Array]]":
    """Calls that a model takes: rows one by one where it takes one and more came, else all."""
    rows = {len(array) if array.ndim else 0 for array in given.values()}
    single = all(port.shape[:1] == (1,) for port in metadata.inputs)
    if not single or len(rows) != 1 or not min(rows):
        return [given]
    return [{name: array[at : at + 1] for name, array in given.items()} for at in range(min(rows))]


def _joined(made: "Sequence[Mapping[str, Array]]") -> "dict[str, Array]":
    import numpy as np

    return {name: np.concatenate([one[name] for one in made]) for name in made[0]}


def _fitting(metadata: "ModelMetadata", given: "Mapping[str, Array]") -> "dict[str, Array]":
    """A single array goes to the single input, whatever that is called; floats are narrowed."""
    if len(given) == len(metadata.inputs) == 1:
        given = {metadata.inputs[0].name: next(iter(given.values()))}
    wanted = {port.name: port.dtype for port in metadata.inputs}
    return {key: _narrowed(array, wanted.get(key)) for key, array in given.items()}


def _narrowed(array: "Array", dtype: str | None) -> "Array":
    """numpy's default float64 where the model takes f32; every other difference is an error."""
    return array.astype("<f4") if dtype == "f32" and array.dtype == "<f8" else array


def _value(array: "Array") -> dict[str, object]:
    return {"dtype": str(array.dtype), "shape": list(array.shape), "data": array.tolist()}


def _table(outputs: "Mapping[str, Array]") -> "Table":
    import numpy as np

    shown = columns("output", "type", "shape", "first values")
    for name, array in outputs.items():
        first = np.array2string(array.ravel()[:SHOWN], precision=5, max_line_width=200)
        shown.add_row(name, str(array.dtype), str(list(array.shape)), first)
    return shown
