"""One delivery of a durable job, from its frame to its write-once record.

The record is written before the delivery is acknowledged, so a crash anywhere costs a repetition
and never a job. Whoever writes first (completion, cancel, deadline) decides how the job ended.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import structlog

from shared.bus.port import Bus, Delivery
from shared.chassis import payload, records
from shared.chassis.handler import Handler, Outcome, Progress
from shared.chassis.records import Next
from shared.chassis.settings import WorkerSettings
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    BusUnavailable,
    DeadlineExceeded,
    DeviceFailed,
    DeviceLost,
    InvalidMessage,
    JobCancelled,
    QueueFull,
    SuiteError,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import JobEvent, JobFinished, JobSubmitted, Status
from shared.contracts.v1.workers import WorkerCard
from shared.tensors import container
from shared.tensors.layouts import Tensor

KEEP_EVERY = 3.0  # [s] between extensions of the ack wait, which is 10 s
PROGRESS_EVERY = 0.2  # [s]; more frequent progress is dropped
STORE_PATIENCE = 300.0  # [s] to wait for room for a result before giving the job back
GIVE_BACK = 2.0  # [s] for the nak of a cancelled attempt
log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Running:
    """A job in hand."""

    job: JobSubmitted
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)


class Attempts:
    """Runs deliveries through a handler; any number at once."""

    def __init__(
        self, bus: Bus, card: WorkerCard, handler: Handler, settings: WorkerSettings
    ) -> None:
        self.running: dict[str, Running] = {}  # by `<tenant>.<job>`
        self._bus = bus
        self._card = card
        self._handler = handler
        self._settings = settings

    async def run(self, delivery: Delivery) -> None:
        """Bring one delivery to its end: acknowledged, given back, or left to come again.

        Cancelling gives the job back at once.
        """
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_keep, delivery)
                await self._handle(delivery)
                group.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(GIVE_BACK, shield=True), contextlib.suppress(SuiteError):
                await delivery.nak()
            raise
        except Exception as error:  # the bus failed under us: the broker will deliver again
            reason = records.describe(records.leaf(error))
            log.warning("job.left", subject=delivery.subject, reason=reason)

    def cancel(self, job_id: str, asked: bytes) -> None:
        """Stop the job of that id if it runs here; `asked` names the tenant, empty means any."""
        for running in self.running.values():
            if running.job.job == job_id and _meant(asked, running.job.tenant):
                running.scope.cancel()

    async def poll_cancels(self) -> None:
        """Look up the stored wish to cancel of every job in hand: broadcasts may be lost."""
        for running in list(self.running.values()):
            if await self._cancel_asked(running.job):
                running.scope.cancel()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            job, tensors = frame.decode(delivery.data, JobSubmitted)
        except SuiteError as error:
            await self._refuse(delivery, error)
            return
        key = f"{job.tenant}.{job.job}"
        while twin := self.running.get(key):  # placed again while the first is still in hand
            await twin.done.wait()
        running = self.running[key] = Running(job)
        try:
            await self._settle(delivery, running, tensors)
        finally:
            del self.running[key]
            running.done.set()

    async def _settle(
        self, delivery: Delivery, running: Running, tensors: Mapping[str, Tensor]
    ) -> None:
        job = running.job
        if await self._bus.last(Stream.RESULTS, subjects.result(job.tenant, job.job)):
            await delivery.ack()
            log.info("job.skipped", tenant=job.tenant, job=job.job, reason="already finished")
            return
        record = self._draft(delivery, job)
        try:
            finished, outputs = await self._execute(running, record, tensors)
            await self._store(finished, outputs)
        except Exception as error:  # the worker loop reports whatever the work raised
            await self._fail(delivery, record, records.leaf(error))
            return
        await delivery.ack()
        _report(finished)

    def _draft(self, delivery: Delivery, job: JobSubmitted) -> JobFinished:
        return records.draft(
            job,
            self._card,
            attempt=records.attempt_of(delivery),
            digest=delivery.headers.get(records.DIGEST) or container.digest(delivery.data),
            now=time.time(),
        )

    async def _execute(
        self, running: Running, record: JobFinished, tensors: Mapping[str, Tensor]
    ) -> tuple[JobFinished, Mapping[str, Tensor]]:
        """Run the handler inside the job's own scope and deadline."""
        job = running.job
        left = float("inf") if job.deadline is None else job.deadline - time.time()
        if await self._cancel_asked(job):
            running.scope.cancel()
        with running.scope, anyio.move_on_after(left):
            await anyio.lowlevel.checkpoint()
            await self._announce(record, "started")
            start = time.perf_counter()
            inputs = {**tensors, **await payload.fetch(self._bus, job.tensors)}
            fetched = time.perf_counter() - start
            outcome: Outcome = await self._handler.handle(job, inputs, self._progress(record))
            return records.succeeded(record, outcome, fetch=fetched), outcome.tensors
        if running.scope.cancel_called:
            cancelled = JobCancelled(f"job {job.job} was cancelled")
            return records.ended(record, Status.CANCELLED, cancelled), {}
        expired = DeadlineExceeded(f"job {job.job} was not done at its deadline {job.deadline}")
        return records.ended(record, Status.EXPIRED, expired), {}

    async def _fail(self, delivery: Delivery, record: JobFinished, error: Exception) -> None:
        match records.decide(error, attempt=record.attempt, limit=self._settings.attempts):
            case Next.RETRY:
                delay = self._settings.retry_delay * 2 ** (record.attempt - 1)
                reason = records.describe(error)
                if isinstance(error, DeviceFailed | DeviceLost):  # another class may do better
                    await self._announce(record, "returned", reason=reason)
                await delivery.nak(delay=delay)
                log.warning("job.retried", job=record.job, reason=reason, after_s=delay)
            case Next.FAIL if isinstance(error, SuiteError):
                failed = records.ended(record, Status.FAILED, error)
                await self._store(failed, {})
                await delivery.ack()
                _report(failed)
            case _:
                last = records.exhausted(error, record.attempt)
                await self._bury(delivery, error, "attempts")
                await self._store(records.ended(record, Status.FAILED, last), {})
                await delivery.term(records.describe(error))

    async def _refuse(self, delivery: Delivery, error: SuiteError) -> None:
        """A frame that does not parse: keep it, and end its job where a header or body names it."""
        await self._bury(delivery, error, "malformed")
        if job := _named(delivery):
            await self._store(records.ended(self._draft(delivery, job), Status.FAILED, error), {})
        await delivery.term(records.describe(error))

    async def _bury(self, delivery: Delivery, error: Exception, reason: str) -> None:
        await self._bus.publish_once(
            subjects.dead(Stream.RUN, reason),
            delivery.data,
            message_id=f"{Stream.RUN}.{delivery.sequence}.dead",
            headers=records.dead_headers(delivery, error, worker=self._card.worker),
        )
        log.error("job.buried", subject=delivery.subject, reason=records.describe(error))

    async def _store(self, finished: JobFinished, outputs: Mapping[str, Tensor]) -> None:
        """Write the record once, waiting for room; that somebody was first is success too."""
        delay = 0.1
        with anyio.fail_after(STORE_PATIENCE):
            while True:
                try:
                    inline, refs = await payload.offload(self._bus, outputs)
                    whole = frame.encode(finished.model_copy(update={"tensors": refs}), inline)
                    subject = subjects.result(finished.tenant, finished.job)
                    await self._bus.write_result(subject, whole)
                    return
                except (QueueFull, BusUnavailable) as error:
                    log.warning("result.waiting", job=finished.job, reason=str(error))
                    await anyio.sleep(delay)
                    delay = min(2 * delay, 2.0)

    async def _cancel_asked(self, job: JobSubmitted) -> bool:
        entry = await self._bus.get(Bucket.CONTROL, f"cancel.{job.job}")
        return entry is not None and entry.value is not None and _meant(entry.value, job.tenant)

    async def _announce(
        self, record: JobFinished, what: str, *, reason: str = "", done: float | None = None
    ) -> None:
        """Tell who listens; a lost event loses nothing but the event."""
        event = JobEvent(
            job=record.job,
            tenant=record.tenant,
            what=what,
            at=time.time(),
            digest=record.digest,
            worker=record.worker,
            worker_class=record.worker_class,
            attempt=record.attempt,
            reason=reason,
            done=done,
        ).encode()
        with contextlib.suppress(SuiteError):
            await self._bus.publish(subjects.event(record.tenant, record.job, what), event)
            if done is None:
                await self._bus.publish(subjects.audit(record.tenant, record.job, what), event)

    def _progress(self, record: JobFinished) -> Progress:
        last = float("-inf")

        async def progress(done: float, reason: str) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= PROGRESS_EVERY or done >= 1.0:
                last = now
                await self._announce(record, "progress", reason=reason, done=done)

        return progress


async def _keep(delivery: Delivery) -> None:
    """Hold the delivery while it is worked on."""
    while True:
        await anyio.sleep(KEEP_EVERY)
        with contextlib.suppress(SuiteError):  # the next one may pass; if not, it comes again
            await delivery.in_progress()


def _meant(asked: bytes, tenant: str) -> bool:
    """Whether a wish to cancel is meant for this tenant; job ids are unique per tenant only."""
    return asked in (b"", tenant.encode())


def _named(delivery: Delivery) -> JobSubmitted | None:
    """The job of a frame whose tensors are broken, if its message can be read."""
    try:
        return frame.message_of(delivery.data, JobSubmitted)
    except InvalidMessage:
        return None


def _report(finished: JobFinished) -> None:
    log.info(
        "job.finished",
        tenant=finished.tenant,
        job=finished.job,
        kind=finished.kind,
        outcome=finished.status.value,
        attempt=finished.attempt,
        run_s=finished.timing.run,
        total_s=round(time.time() - finished.timing.started_at, 6),
        code=finished.failure.code if finished.failure else None,
    )
