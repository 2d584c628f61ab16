"""Following durable jobs to their end: watch, result, cancel."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from services.gateway.front import Call
from services.gateway.limits import Limits
from services.gateway.receipts import Receipts
from shared.bus.port import Bus, Inbound
from shared.contracts import frame, subjects, wire
from shared.contracts.errors import (
    DeadlineExceeded,
    InvalidName,
    JobCancelled,
    UnknownJob,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import Failure, JobEvent, JobFinished, Status
from shared.contracts.wire import jobs

ONCE = ("accepted", "ended")  # whoever tells of it, and however many do
BACKLOG = 256  # events kept for a slow watcher; the oldest give way


@dataclass(slots=True)
class _Feed:
    """What arrives about one job while it is watched."""

    events: deque[bytes] = field(default_factory=lambda: deque(maxlen=BACKLOG))
    news: anyio.Event = field(default_factory=anyio.Event)

    def put_event(self, message: Inbound) -> None:
        self.events.append(message.data)
        self.news.set()

    def wake(self, _message: Inbound) -> None:
        self.news.set()

    async def wait(self, seconds: float) -> None:
        """Until something arrives, or for so long."""
        with anyio.move_on_after(seconds):
            await self.news.wait()
        self.news = anyio.Event()


@dataclass(slots=True)
class _Told:
    """What a watcher was told: events come stored and live, some from gateway and scheduler."""

    events: set[bytes] = field(default_factory=set)
    once: set[str] = field(default_factory=set)  # of ONCE

    def first(self, data: bytes) -> bool:
        """Whether this is news."""
        what = JobEvent.decode(data).what
        if data in self.events or what in self.once:
            return False
        self.events.add(data)
        if what in ONCE:
            self.once.add(what)
        return True


class Outcomes:
    """Reads and writes the record of how a job ended."""

    def __init__(self, bus: Bus, receipts: Receipts, limits: Limits) -> None:
        self._bus, self._receipts, self._limits = bus, receipts, limits

    async def result(self, call: Call, data: bytes) -> bytes:
        """The record as it is stored; waits for it.

        Raises:
            UnknownJob: no trace of the job.
            DeadlineExceeded: it did not end in the time of the call.
        """
        request = wire.parse(jobs.ResultRequest, data)
        tenant, job = _named(call, request.tenant, request.job)
        now = asyncio.get_running_loop().time()
        with anyio.move_on_at(min(call.deadline, now + self._limits.result)):
            async with self._feed(tenant, job) as feed:
                await self._require_known(tenant, job, feed)
                while (content := await self._record(tenant, job)) is None:
                    await feed.wait(self._limits.poll)
            return jobs.ResultResponse(frame=content).SerializeToString()
        raise DeadlineExceeded(f"job {job!r} did not end in the time of the call; it goes on")

    async def watch(self, call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """What is stored about a job, then what happens, ending with its record.

        Raises:
            UnknownJob: no trace of the job.
        """
        request = wire.parse(jobs.WatchRequest, await anext(requests))
        tenant, job = _named(call, request.tenant, request.job)
        async with self._feed(tenant, job) as feed:
            await self._require_known(tenant, job, feed)
            told = _Told()
            for stored in await self._bus.history(Stream.AUDIT, subjects.audits_of(tenant, job)):
                if told.first(stored.data):
                    yield _event(stored.data)
            while (content := await self._record(tenant, job)) is None:
                while feed.events:
                    if told.first(event := feed.events.popleft()):
                        yield _event(event)
                await feed.wait(self._limits.poll)
            finished = frame.message_of(content, JobFinished).encode().decode()
            yield jobs.WatchResponse(finished_json=finished).SerializeToString()

    async def cancel(self, call: Call, data: bytes) -> bytes:
        """Write CANCELLED unless another end was first, and tell whoever has the job.

        Raises:
            UnknownJob: no trace of the job.
        """
        request = wire.parse(jobs.CancelRequest, data)
        tenant, job = _named(call, request.tenant, request.job)
        event = await self._receipts.accepted(tenant, job)
        content = await self._record(tenant, job)
        if event is None and content is None:
            raise UnknownJob(f"no job {job!r} of tenant {tenant!r}")
        cancelled = content is None and await self._write_cancelled(tenant, job, event)
        if cancelled:
            await self._withdraw(tenant, job, event)
        content = content or await self._record(tenant, job)
        if content is None:
            raise UnknownJob(f"the record of job {job!r} has expired")
        return jobs.CancelResponse(
            cancelled=cancelled,
            finished_json=frame.message_of(content, JobFinished).encode().decode(),
        ).SerializeToString()

    async def _write_cancelled(self, tenant: str, job: str, event: JobEvent | None) -> bool:
        error = JobCancelled(f"job {job!r} was cancelled")
        record = JobFinished(
            job=job,
            tenant=tenant,
            kind=(event.kind if event else None) or "",
            status=Status.CANCELLED,
            digest=event.digest if event else "",
            failure=Failure(code=error.code, kind=error.kind, message=str(error), fix=error.fix),
        )
        return await self._bus.write_result(subjects.result(tenant, job), record.encode())

    async def _withdraw(self, tenant: str, job: str, event: JobEvent | None) -> None:
        """Take the job from the queue; stop it where it runs; keep the wish for those who join."""
        if event is not None and event.sequence:
            await self._bus.delete(Stream.JOBS, event.sequence)
        await self._bus.put(Bucket.CONTROL, f"cancel.{job}", tenant.encode())
        await self._bus.publish(subjects.cancel(job), tenant.encode())
        ended = JobEvent(
            job=job, tenant=tenant, what="ended", at=time.time(), reason=Status.CANCELLED
        )
        await self._bus.publish_once(
            subjects.audit(tenant, job, "ended"),
            ended.encode(),
            message_id=f"{tenant}.{job}.cancelled",
        )

    async def _record(self, tenant: str, job: str) -> bytes | None:
        stored = await self._bus.last(Stream.RESULTS, subjects.result(tenant, job))
        return stored.data if stored else None

    async def _require_known(self, tenant: str, job: str, feed: _Feed) -> None:
        """A job that was just published may not be in the audit stream yet: look twice."""
        for attempt in range(2):
            if await self._receipts.accepted(tenant, job) or await self._record(tenant, job):
                return
            if attempt == 0:
                await feed.wait(self._limits.settle)
        raise UnknownJob(f"no job {job!r} of tenant {tenant!r}")

    @asynccontextmanager
    async def _feed(self, tenant: str, job: str) -> AsyncIterator[_Feed]:
        """Subscribe before anything is read, so that nothing falls between."""
        feed = _Feed()
        events = await self._bus.subscribe(subjects.events_of(tenant, job), feed.put_event)
        try:
            done = await self._bus.subscribe(subjects.done(tenant, job), feed.wake)
            try:
                yield feed
            finally:
                with anyio.CancelScope(shield=True):
                    await done.stop()
        finally:
            with anyio.CancelScope(shield=True):
                await events.stop()


def _named(call: Call, tenant: str, job: str) -> tuple[str, str]:
    try:
        return subjects.token(tenant) if tenant else call.tenant, subjects.token(job)
    except ValueError as error:
        raise InvalidName(str(error)) from None


def _event(data: bytes) -> bytes:
    """One event on the wire.

    Raises:
        InvalidMessage: somebody published what is no event.
    """
    return jobs.WatchResponse(
        event_json=JobEvent.decode(data).encode().decode()
    ).SerializeToString()
