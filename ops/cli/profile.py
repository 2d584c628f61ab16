"""`ellesmere profile`: measure a class of workers, or a model on every class."""

from typing import Annotated

import typer

from ops.cli.session import Session

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
    session.show(records.value(record), lambda: records.table(record))
    records.end(session, record)
