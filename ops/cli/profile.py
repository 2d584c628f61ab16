"""`ellesmere profile`: measure a class of workers, or a model on every class."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from shared.contracts.v1.jobs import JobFinished
    from shared.contracts.v1.workers import DeviceProfile

MILLI = 1e3
Name = Annotated[str, typer.Argument(help="Model to measure; none: the class alone.")]
Class = Annotated[str, typer.Option("--class", help="Class of workers; none: every class.")]
Variant = Annotated[str, typer.Option(help="Variant of the model; none: all.")]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait.")]


def profile(
    session: Session,
    name: Name = "",
    worker_class: Class = "",
    variant: Variant = "",
    timeout: Timeout = 600.0,
) -> None:
    """Measure a device's bandwidth and rates, or where the time of a model goes.

    Examples: ellesmere profile --class cpu; ellesmere profile digits
    """
    from ops.cli import bodies, records, remote
    from shared.contracts.errors import InvalidUsage

    if not name and not worker_class:
        raise InvalidUsage("name a model, or a class of workers with --class")
    body = bodies.checked(
        {
            "kind": "profile",
            "model": name or None,
            "worker_class": worker_class or None,
            "variant": variant or None,
        }
    )
    record = remote.run_job(session, body, {}, timeout=timeout)
    session.show(records.value(record), lambda: _screen(record))
    records.end(session, record)


def _screen(record: "JobFinished") -> "RenderableType":
    """What was measured: of a device in one line each, of a model per variant, class and batch."""
    from rich.console import Group

    from ops.cli import records
    from shared.contracts.v1.workers import DeviceProfile

    parts: list[RenderableType] = []
    if isinstance(found := record.report.get("profile"), dict):
        parts.append(_device(DeviceProfile.model_validate(found)))
    if rows := record.report.get("rows"):
        parts.append(_latencies(rows))
    if steps := record.report.get("steps"):
        parts.append(_steps(steps))
    return Group(*parts) if parts else records.table(record)


def _device(found: "DeviceProfile") -> "Table":
    from ops.cli.session import columns

    shown = columns(found.device, "median", "25 %", "75 %", "samples")
    rows = (
        ("copy GB/s", found.copy_bandwidth, 1e-9),
        ("GEMM GFLOP/s", found.gemm_rate, 1e-9),
        ("SpMM GFLOP/s", found.spmm_rate, 1e-9),
        ("launch µs", found.launch, 1e6),
        ("upload GB/s", found.upload_bandwidth, 1e-9),
        ("download GB/s", found.download_bandwidth, 1e-9),
    )
    for name, measure, scale in rows:
        values = (measure.median, measure.low, measure.high)
        shown.add_row(name, *(f"{value * scale:.2f}" for value in values), str(measure.samples))
    return shown


def _latencies(rows: object) -> "Table":
    from pydantic import TypeAdapter

    from ops.cli.session import columns

    shown = columns("variant", "class", "batch", "p50 ms", "p99 ms", "samples")
    for row in TypeAdapter(list[dict[str, str | int | float]]).validate_python(rows):
        times = (f"{float(row[name]) * MILLI:.3f}" for name in ("p50", "p99"))
        head = (str(row[name]) for name in ("variant", "worker_class", "batch"))
        shown.add_row(*head, *times, str(row["samples"]))
    return shown


def _steps(steps: object) -> "Table":
    from pydantic import TypeAdapter

    from ops.cli.session import columns
    from shared.contracts.v1.jobs import StepTime

    shown = columns("variant@class", "step", "operator", "ms", "flops", "bytes", "zeros")
    for where, times in TypeAdapter(dict[str, list[StepTime]]).validate_python(steps).items():
        for time in times:
            cost = (f"{time.seconds * MILLI:.4f}", f"{time.flops:,.0f}", f"{time.bytes:,.0f}")
            shown.add_row(where, time.step, time.operator, *cost, f"{time.sparsity:.0%}")
    return shown
