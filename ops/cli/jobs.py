"""`ellesmere job`: what became of a job, and how to stop one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.table import Table

    from shared.client.client import Client
    from shared.contracts.v1.jobs import JobEvent, JobFinished

Job = Annotated[str, typer.Argument(help="Id of the job.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")]
Output = Annotated[
    Path | None, typer.Option(help="Write the tensors to a .npz, .npy or .safetensors file.")
]
NOW = {"accepted": "waits to be placed", "placed": "waits for a worker"}  # else it runs
LOOK = 2.0  # [s] without news after which the history is taken as complete


def show(session: Session, job: Job) -> None:
    """Show the history of a job: every change of its state, and its record when it has ended."""
    from ops.cli import records, remote

    events, record = remote.call(session, lambda client: _history(client, job))
    value = {
        "job": job,
        "events": [event.model_dump(mode="json", exclude_none=True) for event in events],
        "record": records.value(record) if record else None,
    }
    session.show(value, lambda: _history_table(events, record))


def watch(session: Session, job: Job, timeout: Timeout = 3600.0) -> None:
    """Follow a job until it ends; leaves with its exit code."""
    from ops.cli import records, remote

    record = remote.call(
        session, lambda client: remote.follow(session, client, job, timeout=timeout)
    )
    session.show(records.value(record), lambda: records.table(record))
    records.end(session, record)


def cancel(session: Session, job: Job) -> None:
    """Cancel a job. The record that was first stands: it may have ended before."""
    from ops.cli import records, remote
    from shared.contracts.v1.jobs import Status

    record = remote.call(session, lambda client: client.cancel(job))
    if record.status is not Status.CANCELLED:
        session.say(f"{job} had ended before: {record.status}")
    session.show(records.value(record), lambda: records.table(record))


def result(session: Session, job: Job, output: Output = None, timeout: Timeout = 3600.0) -> None:
    """Wait for a job's record and its tensors; leaves with the job's exit code."""
    from ops.cli import records, remote

    record, tensors = remote.call(session, lambda client: client.result(job, timeout=timeout))
    if output and tensors:
        records.save(output, tensors)
    session.show(records.value(record, tensors), lambda: records.table(record, tensors))
    records.end(session, record)


async def _history(client: "Client", job: str) -> "tuple[list[JobEvent], JobFinished | None]":
    """Everything known now: the stream of a job that still runs does not end by itself."""
    from shared.contracts.errors import DeadlineExceeded
    from shared.contracts.v1.jobs import JobFinished

    events: list[JobEvent] = []
    try:
        async for item in client.watch(job, timeout=LOOK):
            if isinstance(item, JobFinished):
                return events, item
            events.append(item)
    except DeadlineExceeded:
        pass
    return events, None


def _history_table(events: "list[JobEvent]", record: "JobFinished | None") -> "Table":
    shown = columns("at", "what", "attempt", "worker", "why")
    for event in events:
        if event.what != "ended":
            where = event.worker or event.worker_class
            shown.add_row(_at(event), event.what, str(event.attempt or ""), where, event.reason)
    if record is None:
        shown.add_row("now", NOW.get(events[-1].what, "runs") if events else "unknown", "", "", "")
        return shown
    at = next((_at(event) for event in events if event.what == "ended"), "")
    attempt = str(record.attempt) if record.worker else ""
    why = record.failure.message if record.failure else ""
    shown.add_row(at, str(record.status), attempt, record.worker, why)
    return shown


def _at(event: "JobEvent") -> str:
    from datetime import datetime

    return datetime.fromtimestamp(event.at).strftime("%H:%M:%S.%f")[:-3]
