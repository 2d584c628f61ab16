"""Transitions that end a job: exactly one record, whoever writes it."""

from collections.abc import Iterator

from services.scheduler import placing
from services.scheduler.instructions import (
    Acknowledge,
    Announce,
    DeadLetter,
    Discard,
    Finish,
    Instruction,
)
from services.scheduler.job import ENDING, WAITING, Job
from services.scheduler.state import State
from shared.contracts import subjects
from shared.contracts.errors import (
    DeadlineExceeded,
    JobCancelled,
    JobFailed,
    NoWorker,
    SuiteError,
)
from shared.contracts.subjects import Stream
from shared.contracts.v1.jobs import Failure, JobFinished, Status


def failure(error: SuiteError) -> Failure:
    """An error as the value that records carry."""
    return Failure(
        code=error.code,
        kind=error.kind,
        message=str(error),
        fix=error.fix,
        retryable=error.retryable,
    )


def wished(state: State, tenant: str, job_id: str, now: float) -> Iterator[Instruction]:
    """Somebody asked to cancel; an empty tenant means the jobs of that id of any."""
    for job in list(state.jobs.values()):
        meant = job.id == job_id and tenant in ("", job.tenant)
        if meant and job.phase is not ENDING:
            error = JobCancelled(f"cancelled while it was {job.phase.value}")
            yield _finish(state, job, Status.CANCELLED, error, now)
    yield from placing.dispatch(state, now)


def expired(state: State, job: Job, now: float) -> Finish:
    """Its deadline has passed."""
    late = now - (job.message.deadline or now)
    told = f"deadline passed {late:.3f} s ago while the job was {job.phase.value}"
    return _finish(state, job, Status.EXPIRED, DeadlineExceeded(told), now)


def unserved(state: State, job: Job, now: float) -> Finish:
    """No worker that could run it was ever seen."""
    wanted = job.pinned or f"any class that takes {job.kind}"
    told = f"waited {now - job.arrived:.0f} s for {wanted}; no such worker has come"
    return _finish(state, job, Status.FAILED, NoWorker(told), now)


def refused(state: State, job: Job, error: SuiteError, now: float) -> Finish:
    """It can never run as it was asked for."""
    return _finish(state, job, Status.FAILED, error, now)


def exhausted(state: State, job: Job, told: str, now: float) -> Finish:
    """Every worker that took it was lost: keep it for people and stop trying."""
    error = JobFailed(
        f"{job.lost} workers were lost with it and {job.doubts} that may have had it, the last on"
        f" attempt {job.attempt}: {told}"
    )
    letter = DeadLetter(
        tenant=job.tenant,
        job=job.id,
        kind=job.kind,
        stream=Stream.RUN,
        reason="attempts",
        code=error.code,
        message=str(error),
        digest=job.frame.digest,
        data=job.frame.data,
        subject=subjects.run(job.worker_class, job.kind),
        attempts=job.attempt,
    )
    return _finish(state, job, Status.FAILED, error, now, letter)


def ended(state: State, key: str, record: JobFinished | None, now: float) -> Iterator[Instruction]:
    """A job has its record: forget it and use the room it leaves."""
    job = state.jobs.pop(key, None)
    if job is None:
        if record is not None:
            _remember(state, key, record.digest)
        return
    placing.release(state, job)
    if job.phase is WAITING:
        state.ready.remove(job)
    _remember(state, key, record.digest if record and record.digest else job.frame.digest)
    if job.delivery is not None:
        state.held.discard(job.delivery)
        yield Acknowledge(job.delivery)
    if job.sequence is not None and not _acknowledged_by_worker(record):
        yield Discard(job.sequence)
    yield _told(job, record)
    yield from placing.dispatch(state, now)


def _finish(
    state: State,
    job: Job,
    status: Status,
    error: SuiteError,
    now: float,
    letter: DeadLetter | None = None,
) -> Finish:
    placing.release(state, job)
    if job.phase is WAITING:
        state.ready.remove(job)
    job.phase, job.since, job.retry_at = ENDING, now, None
    job.pending = Finish(
        tenant=job.tenant,
        job=job.id,
        kind=job.kind,
        status=status,
        failure=failure(error),
        digest=job.frame.digest,
        attempt=max(1, job.attempt),
        worker_class=job.worker_class,
        delivery=job.delivery,
        queued=job.sequence,
        letter=letter,
    )
    return job.pending


def _acknowledged_by_worker(record: JobFinished | None) -> bool:
    """A worker acknowledges what it ran; other records leave the attempt in the stream."""
    return record is not None and bool(record.worker)


def _told(job: Job, record: JobFinished | None) -> Announce:
    pending = job.pending.status if isinstance(job.pending, Finish) else None
    status = record.status if record is not None else pending
    outcome = status.value if status is not None else "unknown"
    failed = record.failure if record is not None else None
    return Announce(
        tenant=job.tenant,
        job=job.id,
        what="ended",
        digest=job.frame.digest,
        worker=record.worker if record else "",
        worker_class=record.worker_class if record else job.worker_class,
        attempt=record.attempt if record else job.attempt,
        reason=f"{outcome}: {failed.code} {failed.message}" if failed else outcome,
    )


def _remember(state: State, key: str, digest: str) -> None:
    state.ended[key] = digest
    state.remember(state.ended)
