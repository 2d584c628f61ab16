"""What `ellesmere job show` tells of a job."""

import io

import pytest
from rich.console import Console

from ops.cli.jobs import _history_table
from shared.contracts.v1.jobs import Failure, JobEvent, JobFinished, Status


def told(*whats: str) -> list[JobEvent]:
    """Events in a row, half a second apart."""
    return [
        JobEvent(job="j", tenant="t", what=what, at=number / 2) for number, what in enumerate(whats)
    ]


def rows(events: list[JobEvent], record: JobFinished | None = None) -> list[list[str]]:
    """The table without its head, as words."""
    out = io.StringIO()
    Console(file=out, width=160).print(_history_table(events, record))
    return [line.split() for line in out.getvalue().splitlines()[1:]]


@pytest.mark.parametrize(
    ("last", "now"),
    [
        (["accepted"], "waits to be placed"),
        (["accepted", "placed"], "waits for a worker"),
        (["accepted", "placed", "started"], "runs"),
    ],
)
def test_job_without_a_record_is_where_its_last_event_left_it(last: list[str], now: str) -> None:
    assert rows(told(*last))[-1] == ["now", *now.split()]


def test_record_closes_the_history_at_the_time_of_the_end() -> None:
    failure = Failure(code="EL-1205", kind="cancelled", message="cancelled while it waited")
    record = JobFinished(
        job="j", tenant="t", kind="operator", status=Status.CANCELLED, failure=failure
    )

    shown = rows(told("accepted", "ended"), record)

    assert [row[1] for row in shown] == ["accepted", "cancelled"]
    assert shown[-1][0].endswith("00.500")
    assert shown[-1][2:] == ["cancelled", "while", "it", "waited"]  # no attempt was made
