"""Calls of the stack: one connection per command, and the progress of a job while one waits."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import anyio

from ops.cli.session import Session
from shared.chassis import settings
from shared.client.client import Client
from shared.contracts.errors import InvalidUsage, UnknownJob
from shared.contracts.v1.jobs import Body, JobEvent, JobFinished
from shared.tensors.layouts import Tensor

T = TypeVar("T")
Tell = Callable[[JobEvent], None]


def call(session: Session, work: Callable[[Client], Awaitable[T]], *, seconds: float = 30.0) -> T:
    """Run `work` on a connection to the stack.

    Args:
        seconds: bound of every call that is given no other [s].

    Raises:
        InvalidUsage: the address is none.
        SuiteError: what the gateway answered, or that none does.
    """
    try:
        address = settings.address(session.address)
    except ValueError as error:
        raise InvalidUsage(f"--address: {error}") from None

    async def connected() -> T:
        async with Client(address, tenant=session.tenant, timeout=seconds) as client:
            return await work(client)

    return anyio.run(connected)


def run_job(
    session: Session, body: Body, tensors: Mapping[str, Tensor], *, timeout: float
) -> JobFinished:
    """Submit a job and follow it to its record; raises like `follow`."""

    async def work(client: Client) -> JobFinished:
        receipt = await client.submit(body, tensors)
        return await follow(session, client, receipt.job, timeout=timeout)

    return call(session, work)


async def follow(session: Session, client: Client, job: str, *, timeout: float) -> JobFinished:
    """Wait for a job's record and show meanwhile what is known of it.

    Raises:
        UnknownJob: there is no such job.
        DeadlineExceeded: it takes longer than `timeout` seconds.
    """
    with _telling(session) as tell:
        return await _record(client.watch(job, timeout=timeout), job, tell)


async def _record(
    items: AsyncIterator[JobEvent | JobFinished], job: str, tell: Tell
) -> JobFinished:
    async for item in items:
        if isinstance(item, JobFinished):
            return item
        tell(item)
    raise UnknownJob(f"nothing more is known of job {job!r}")


@contextmanager
def _telling(session: Session) -> Iterator[Tell]:
    """A progress bar on a terminal; elsewhere a line per change and per tenth of the work."""
    if not session.talk.is_terminal:
        yield _lines(session)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=session.talk, transient=True) as bars:
        bar = bars.add_task("accepted", total=None)

        def tell(event: JobEvent) -> None:
            total = None if event.done is None else 1.0
            bars.update(bar, description=_words(event), total=total, completed=event.done)

        yield tell


def _lines(session: Session) -> Tell:
    said: set[tuple[str, int]] = set()

    def tell(event: JobEvent) -> None:
        tenth = int((event.done or 0.0) * 10)
        if (event.what, tenth) not in said:
            said.add((event.what, tenth))
            share = "" if event.done is None else f" {event.done:.0%}"
            session.say(f"{_words(event)}{share}")

    return tell


def _words(event: JobEvent) -> str:
    """What happened, and where or why when that is known."""
    where = f" on {event.worker or event.worker_class}" if event.worker_class else ""
    why = f" ({event.reason})" if event.reason else ""
    return f"{event.what}{where}{why}"
