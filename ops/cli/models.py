"""`ellesmere model`: what is served, and under which name."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from shared.contracts.v1.models import ModelManifest, Route, Variant

LARGEST = 2 * 2**30  # [bytes] what a protobuf file can hold
MILLI = 1e3


def positive(seconds: float) -> float:
    """Raises BadParameter for what is no length of a step."""
    if not 0.0 < seconds < math.inf:
        raise typer.BadParameter(
            f"a step lasts a finite time of more than 0 seconds, got {seconds}"
        )
    return seconds


Name = Annotated[str, typer.Argument(help="Name of the model: a-z, 0-9, dot, dash, underscore.")]
File = Annotated[
    Path,
    typer.Argument(
        help=".onnx with its weights inside, .nir (spiking), or .safetensors as exported here."
    ),
]
Step = Annotated[
    float,
    typer.Option(help="Seconds that a step of a spiking network lasts.", callback=positive),
]
Steps = Annotated[int, typer.Option(min=1, max=10_000, help="Steps of a call of it.")]
Rule = Annotated[
    Literal["exact", "euler"],
    typer.Option(help="How its equations are solved over a step; euler: as most simulators do."),
]
FORMATS: dict[str, Literal["onnx", "safetensors", "nir"]] = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".nir": "nir",
}
NanPolicy = Annotated[
    Literal["reject", "pass"], typer.Option(help="What becomes of NaN in inputs.")
]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")]


def add(  # noqa: PLR0913 - one parameter per option
    session: Session,
    name: Name,
    file: File,
    nan_policy: NanPolicy = "reject",
    dt: Step = 1e-3,
    steps: Steps = 100,
    rule: Rule = "exact",
    timeout: Timeout = 120.0,
) -> None:
    """Import a network and wait until it is served."""
    from ops.cli import remote

    _check_name(name)
    format_ = _format(file)
    content = read(file)
    with session.talk.status(f"importing {file.name}"):
        manifest = remote.call(
            session,
            lambda client: client.add_model(
                name,
                content,
                format=format_,
                dt=dt,
                steps=steps,
                rule=rule,
                nan_policy=nan_policy,
                timeout=timeout,
            ),
        )
    session.show(_value(manifest), lambda: _details(manifest, None))


def list_models(session: Session) -> None:
    """List the models and their variants."""
    from ops.cli import remote

    manifests = remote.call(session, lambda client: client.list_models())
    session.show({"models": [_value(manifest) for manifest in manifests]}, lambda: _list(manifests))


def show(session: Session, name: Name) -> None:
    """Show a model: inputs, outputs, variants, what was measured, where it is served and why."""
    from ops.cli import remote

    manifest, route = remote.call(session, lambda client: client.describe_model(name))
    value = _value(manifest) | {"route": route.model_dump(mode="json") if route else None}
    session.show(value, lambda: _details(manifest, route))


def remove(session: Session, name: Name) -> None:
    """Forget a model and delete its artifacts."""
    from ops.cli import remote

    remote.call(session, lambda client: client.remove_model(name))
    session.show({"removed": name}, lambda: f"removed {name}")


def load(session: Session, name: Name, timeout: Timeout = 60.0) -> None:
    """Have workers load a model; returns when it can be called."""
    from ops.cli import remote

    remote.call(session, lambda client: client.load(name), seconds=timeout)
    session.show({"loaded": name}, lambda: f"{name} is served")


def unload(session: Session, name: Name) -> None:
    """Take a model out of service; it stays stored."""
    from ops.cli import remote

    remote.call(session, lambda client: client.unload(name))
    session.show({"unloaded": name}, lambda: f"{name} is not served any more")


def _check_name(name: str) -> None:
    from shared.contracts import subjects
    from shared.contracts.errors import InvalidName

    if not subjects.NAME.fullmatch(name):
        raise InvalidName(f"{name!r} cannot be the name of a model")


def _format(file: Path) -> Literal["onnx", "safetensors", "nir"]:
    from shared.contracts.errors import InvalidUsage

    if file.suffix not in FORMATS:
        raise InvalidUsage(f"{file} ends in none of {', '.join(FORMATS)}")
    return FORMATS[file.suffix]


def read(file: Path) -> bytes:
    """A network file as it is; raises TooLarge."""
    from shared.contracts.errors import TooLarge

    size = file.stat().st_size
    if size > LARGEST:
        raise TooLarge(f"{file} has {size} bytes; a network file has at most {LARGEST}")
    return file.read_bytes()


def _value(manifest: "ModelManifest") -> dict[str, object]:
    return manifest.model_dump(mode="json", exclude_none=True)


def _list(manifests: "list[ModelManifest]") -> "Table":
    shown = columns("model", "served", "variant", "method", "bytes", "verdict")
    for manifest in manifests:
        for number, variant in enumerate(manifest.variants):
            first = number == 0
            model = manifest.model if first else ""
            served = ("yes" if manifest.loaded else "no") if first else ""
            row = (variant.name, variant.method, f"{variant.weight_bytes:,}", _reason(variant))
            shown.add_row(model, served, *row)
    return shown


def _details(manifest: "ModelManifest", route: "Route | None") -> "Group":
    from rich.console import Group

    ports = [
        f"{direction} {port.name}: {port.dtype} {list(port.shape)}"
        for direction, ports in (("input", manifest.inputs), ("output", manifest.outputs))
        for port in ports
    ]
    head = [f"{manifest.model}: default variant {manifest.default}", *ports]
    measured = [
        f"{variant.name} on {found.worker_class}, batch {found.batch}: "
        f"p50 {found.p50 * MILLI:.3f} ms, p99 {found.p99 * MILLI:.3f} ms ({found.samples} samples)"
        for variant in manifest.variants
        for found in sorted(variant.latencies, key=lambda found: (found.worker_class, found.batch))
    ]
    places = [
        f"{variant} → {choice.worker_class}: {choice.seconds * MILLI:.3f} ms, {choice.reason}"
        for variant, choices in (route.choices if route else {}).items()
        for choice in choices
    ]
    return Group(*head, _list([manifest]), *measured, *places)


def _reason(variant: "Variant") -> str:
    return variant.verdict.reason if variant.verdict else ""
