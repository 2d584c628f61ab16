"""Accepting durable jobs: once per id, whatever is lost or repeated on the way."""

import asyncio
import time

from services.gateway.front import TENANT, Call
from services.gateway.metrics import Metrics
from services.gateway.tables import Tables
from shared.bus.port import Bus, Receipt
from shared.contracts import frame, subjects, wire
from shared.contracts.errors import BusUnavailable, DeadlineExceeded, InvalidMessage, JobIdReused
from shared.contracts.subjects import Stream
from shared.contracts.v1.jobs import (
    Body,
    ImportBody,
    JobEvent,
    JobFinished,
    JobSubmitted,
    TrainBody,
)
from shared.contracts.wire import jobs
from shared.tensors import container

INLINE_CHECK = 2**18  # [bytes] larger frames are checked in a thread


class Receipts:
    """Stores jobs, and knows what was stored under an id before."""

    def __init__(self, bus: Bus, tables: Tables, metrics: Metrics) -> None:
        self._bus, self._tables, self._metrics = bus, tables, metrics

    async def submit(self, call: Call, data: bytes) -> bytes:
        """Accept a frame: when this returns, the broker has it on disk.

        Raises:
            InvalidMessage, InvalidTensor: the frame does not parse.
            DeadlineExceeded: the job's deadline has passed.
            UnknownModel: the job names a model that does not exist.
            JobIdReused: the id stands for other bytes.
            QueueFull, TooLarge, BusUnavailable: it was not stored.
        """
        content = wire.parse(jobs.SubmitRequest, data).frame
        job = await _checked(content)
        if TENANT in call.metadata and call.tenant != job.tenant:
            raise InvalidMessage(f"tenant {call.tenant!r} submits for tenant {job.tenant!r}")
        digest = container.digest(content)
        known = await self._known(job)
        if known is None:
            await self._require_sense(job)
            receipt = await self._store(job, content)
            known = await self._first(job, receipt, digest)
            if not receipt.duplicate:
                await self._note(job, receipt, digest)
                self._metrics.accepted.labels(job.body.kind).inc()
        else:
            receipt = Receipt(0, duplicate=True)
        if known != digest:
            raise JobIdReused(f"job {job.job!r} was accepted with digest {known}, now {digest}")
        return jobs.SubmitResponse(
            tenant=job.tenant,
            job=job.job,
            sequence=receipt.sequence,
            duplicate=receipt.duplicate,
            digest=digest,
        ).SerializeToString()

    async def accepted(self, tenant: str, job: str) -> JobEvent | None:
        """The stored acceptance of a job: ours, which names its place in the queue, if there is
        one, else that of the scheduler."""
        subject = subjects.audit(tenant, job, "accepted")
        stored = await self._bus.history(Stream.AUDIT, subject, limit=8)
        events = [JobEvent.decode(each.data) for each in stored]
        return min(events, key=lambda event: event.sequence is None, default=None)

    async def _known(self, job: JobSubmitted) -> str | None:
        """The digest that an id stands for; None when it is free."""
        accepted = subjects.audit(job.tenant, job.job, "accepted")
        stored = await self._bus.last(Stream.AUDIT, accepted)
        if stored is not None and (digest := JobEvent.decode(stored.data).digest):
            return digest
        record = await self._bus.last(Stream.RESULTS, subjects.result(job.tenant, job.job))
        return frame.message_of(record.data, JobFinished).digest if record else None

    async def _store(self, job: JobSubmitted, content: bytes) -> Receipt:
        subject = subjects.job(job.tenant, job.body.kind)
        return await self._bus.publish_once(subject, content, message_id=f"{job.tenant}.{job.job}")

    async def _first(self, job: JobSubmitted, receipt: Receipt, digest: str) -> str:
        """The digest of what is stored: ours, or what came first under this id.

        Raises:
            BusUnavailable: the id is taken, and by what cannot be read yet.
        """
        if not receipt.duplicate:
            return digest
        stored = await self._bus.message(Stream.JOBS, receipt.sequence)
        if stored is not None:
            return container.digest(stored.data)
        known = await self._known(job)
        if known is None:
            raise BusUnavailable(f"job {job.job!r} is being accepted; ask again")
        return known

    async def _note(self, job: JobSubmitted, receipt: Receipt, digest: str) -> None:
        """Write down the acceptance; the scheduler does so too for jobs that it meets first."""
        event = JobEvent(
            job=job.job,
            tenant=job.tenant,
            what="accepted",
            at=time.time(),
            digest=digest,
            kind=job.body.kind,
            sequence=receipt.sequence,
        )
        await self._bus.publish_once(
            subjects.audit(job.tenant, job.job, "accepted"),
            event.encode(),
            message_id=f"{job.tenant}.{job.job}.accepted",
        )

    async def _require_sense(self, job: JobSubmitted) -> None:
        """Refuse what cannot succeed before it costs anything."""
        if job.deadline is not None and job.deadline <= time.time():
            late = time.time() - job.deadline
            raise DeadlineExceeded(f"the deadline of job {job.job!r} passed {late:.3f} s ago")
        model = getattr(job.body, "model", None)
        if model is not None and not _makes_model(job.body):
            await self._tables.model(model)


def _makes_model(body: Body) -> bool:
    """Whether the model that a job names need not be there."""
    return isinstance(body, ImportBody) or (isinstance(body, TrainBody) and body.method == "stdp")


async def _checked(content: bytes) -> JobSubmitted:
    """Parse message and tensors; a large frame does not hold up the event loop."""
    if len(content) <= INLINE_CHECK:
        job, _tensors = frame.decode(content, JobSubmitted)
    else:
        job, _tensors = await asyncio.to_thread(frame.decode, content, JobSubmitted)
    return job
