"""Jobs of services for other workers: submit one and wait for its record."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from shared.bus.port import Bus, Inbound, Receipt
from shared.chassis import payload
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
    SuiteError,
    catalogue,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import JobFinished, JobSubmitted, Status
from shared.tensors.layouts import Tensor

WITHDRAW_SECONDS = 2.0  # [s] for the wish to cancel
POLL_EVERY = 1.0  # [s] between looks at the record; the announcement usually comes first


async def submit(
    bus: Bus, job: JobSubmitted, tensors: Mapping[str, Tensor] | None = None
) -> Receipt:
    """Hand a job to the durable lane; when this returns it is accepted and will not be lost.

    Raises:
        QueueFull: the tenant's queue is full.
        BusUnavailable.
    """
    inline, refs = await payload.offload(bus, tensors or {})
    whole = job.model_copy(update={"tensors": {**job.tensors, **refs}})
    return await bus.publish_once(
        subjects.job(job.tenant, job.body.kind),
        frame.encode(whole, inline),
        message_id=f"{job.tenant}.{job.job}",
    )


async def submit_and_wait(
    bus: Bus,
    job: JobSubmitted,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    timeout: float,
) -> tuple[JobFinished, dict[str, Tensor]]:
    """Submit a job and return its record and output tensors once it has succeeded.

    Args:
        job: without a deadline it gets the end of `timeout`, so that nothing runs on unwatched.
        timeout: [s] from now.

    Raises:
        SuiteError: what the job failed with, as the class of its code.
        JobCancelled, DeadlineExceeded: it was cancelled, or not done in time.
    """
    if job.deadline is None:
        job = job.model_copy(update={"deadline": time.time() + timeout})
    try:
        with anyio.fail_after(timeout):
            async with _end_of(bus, job) as announced:
                await submit(bus, job, tensors)
                record = await _record(bus, job, announced)
        return await _outputs(bus, record)
    except TimeoutError:
        await withdraw(bus, job)
        raise DeadlineExceeded(f"job {job.job} was not done within {timeout:g} s") from None
    except anyio.get_cancelled_exc_class():
        await withdraw(bus, job)
        raise


async def wait(bus: Bus, job: JobSubmitted, *, timeout: float) -> JobFinished:
    """The record of a job that was submitted, by whomever, once it has ended in whatever way.

    Raises:
        DeadlineExceeded: it has not ended within `timeout` seconds; it goes on.
    """
    with anyio.move_on_after(timeout):
        async with _end_of(bus, job) as announced:
            return frame.message_of(await _record(bus, job, announced), JobFinished)
    raise DeadlineExceeded(f"job {job.job} has not ended after {timeout:g} s")


async def withdraw(bus: Bus, job: JobSubmitted) -> None:
    """Ask for a job to be stopped that nobody waits for any more; its deadline is the backstop."""
    asked = job.tenant.encode()
    with anyio.move_on_after(WITHDRAW_SECONDS, shield=True), contextlib.suppress(SuiteError):
        await bus.put(Bucket.CONTROL, f"cancel.{job.job}", asked)
        await bus.publish(subjects.cancel(job.job), asked)


@asynccontextmanager
async def _end_of(bus: Bus, job: JobSubmitted) -> AsyncIterator[anyio.Event]:
    """An event that is set when the end of a job is announced."""
    announced = anyio.Event()

    def announce(_message: Inbound) -> None:
        announced.set()

    subscription = await bus.subscribe(subjects.done(job.tenant, job.job), announce)
    try:
        yield announced
    finally:
        with anyio.CancelScope(shield=True):
            await subscription.stop()


async def _record(bus: Bus, job: JobSubmitted, announced: anyio.Event) -> bytes:
    """The stored frame of the job's end; the announcement is a hint, the record is the truth."""
    while True:
        with anyio.move_on_after(POLL_EVERY):
            await announced.wait()
        stored = await bus.last(Stream.RESULTS, subjects.result(job.tenant, job.job))
        if stored is not None:
            return stored.data


async def _outputs(bus: Bus, record: bytes) -> tuple[JobFinished, dict[str, Tensor]]:
    finished, inline = frame.decode(record, JobFinished)
    if finished.status is not Status.SUCCEEDED:
        raise error_of(finished)
    return finished, {**inline, **await payload.fetch(bus, finished.tensors)}


def error_of(finished: JobFinished) -> SuiteError:
    """The exception that a record without success stands for."""
    text = finished.failure.message if finished.failure else f"job {finished.job} did not succeed"
    match finished.status:
        case Status.CANCELLED:
            return JobCancelled(text)
        case Status.EXPIRED:
            return DeadlineExceeded(text)
        case _:
            code = finished.failure.code if finished.failure else JobFailed.code
            return catalogue().get(code, JobFailed)(text)
