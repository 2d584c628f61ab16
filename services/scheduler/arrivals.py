"""Transitions for what comes in: submissions, unreadable ones, and what a predecessor left."""

from collections.abc import Iterator

from services.scheduler import ending, placing, ready
from services.scheduler.events import Arrival, Found, Unreadable, key
from services.scheduler.instructions import (
    Acknowledge,
    Announce,
    DeadLetter,
    Discard,
    Finish,
    Instruction,
)
from services.scheduler.job import Job
from services.scheduler.state import State
from shared.contracts import subjects
from shared.contracts.errors import InvalidMessage, JobIdReused, SuiteError, UnsupportedOperator
from shared.contracts.subjects import Stream
from shared.contracts.v1.jobs import Status
from shared.operators.catalog import CATALOG
from shared.operators.validate import nearest

CATALOGUED = frozenset(spec.name for spec in CATALOG)


def arrived(state: State, event: Arrival, now: float) -> Iterator[Instruction]:
    """A submission: the first of its id is accepted, the same again is noted, another refused."""
    name = key(event.job.tenant, event.job.job)
    known = state.jobs.get(name)
    if known is not None and event.record is None:
        yield from _repeated(known, event)
        return
    digest = event.record.digest if event.record is not None else state.ended.get(name)
    if digest and digest != event.frame.digest:
        yield _reused(event, digest)
        return
    if event.record is not None:
        yield Acknowledge(event.delivery)
        yield from ending.ended(state, name, event.record, now)
        return
    yield from _accepted(state, name, event, now)


def unreadable(state: State, event: Unreadable) -> Iterator[Instruction]:
    """Not a job: kept for people, and answered when its id could be read and means no other job.

    The first of an id stands: whoever sends nonsense under it later must not be able to end it.
    """
    letter = DeadLetter(
        tenant=event.tenant,
        job=event.job or "unknown",
        kind=event.kind,
        stream=Stream.JOBS,
        reason="malformed",
        code=InvalidMessage.code,
        message=event.reason,
        digest=event.frame.digest,
        data=event.frame.data,
        subject=event.subject,
        delivery=event.delivery,
    )
    if event.job is None or _stands(state, key(event.tenant, event.job)):
        yield letter
        return
    yield Finish(
        tenant=event.tenant,
        job=event.job,
        kind=event.kind,
        status=Status.FAILED,
        failure=ending.failure(InvalidMessage(event.reason)),
        digest=event.frame.digest,
        delivery=event.delivery,
        letter=letter,
    )


def found(state: State, event: Found, now: float) -> Iterator[Instruction]:
    """A predecessor placed this; of several attempts the newest stands."""
    name = key(event.job.tenant, event.job.job)
    known = state.jobs.get(name)
    if known is not None and known.attempt >= event.attempt:
        yield Discard(event.sequence)
        return
    if known is not None and known.sequence is not None:
        yield Discard(known.sequence)
        placing.release(state, known)
    state.jobs[name] = job = _new(state, name, event, now)
    expected = state.estimates.job(event.job, event.demand, event.worker_class)
    job.attempt, job.sequence = event.attempt, event.sequence
    job.worker_class, job.seconds = event.worker_class, expected.seconds
    state.fleet.occupy(event.worker_class, expected.seconds)
    placing.watch(state, job, now)


def _stands(state: State, name: str) -> bool:
    """Whether a job of this name was accepted, held here or given back to wait in the stream."""
    return name in state.jobs or name in state.first_seen


def _repeated(known: Job, event: Arrival) -> Iterator[Instruction]:
    if known.frame.digest != event.frame.digest:
        yield _reused(event, known.frame.digest)
    elif known.delivery != event.delivery:
        yield Acknowledge(event.delivery)


def _accepted(state: State, name: str, event: Arrival, now: float) -> Iterator[Instruction]:
    job = _new(state, name, event, now)
    job.delivery = event.delivery
    state.jobs[name] = job
    state.held.add(event.delivery)
    if name not in state.first_seen:
        state.first_seen[name] = now
        state.remember(state.first_seen)
        yield _told(event)
    deadline = event.job.deadline
    if deadline is not None and deadline <= now:
        yield ending.expired(state, job, now)
    elif (error := _unfit(state, job)) is not None:
        yield ending.refused(state, job, error, now)
    else:
        yield from placing.arrive(state, job, now)


def _told(event: Arrival) -> Announce:
    """The acceptance, with what it takes to withdraw the job from EL_JOBS while it waits there."""
    return Announce(
        tenant=event.job.tenant,
        job=event.job.job,
        what="accepted",
        digest=event.frame.digest,
        kind=event.job.body.kind,
        sequence=event.delivery,
    )


def _new(state: State, name: str, event: Arrival | Found, now: float) -> Job:
    state.arrivals += 1
    message = event.job
    first = state.first_seen.get(name, now)
    level, due = ready.level_of(message.priority, message.deadline, first, state.policy.ageing)
    return Job(
        key=name,
        message=message,
        frame=event.frame,
        demand=event.demand,
        order=(level, due, state.arrivals),
        arrived=first,
        since=now,
    )


def _unfit(state: State, job: Job) -> SuiteError | None:
    """Why no worker can ever run the job as it was asked for; None when one may."""
    if job.pinned:
        kinds = state.fleet.of(job.pinned).kinds
        if kinds and job.kind not in kinds:
            takes = ", ".join(sorted(kinds))
            told = f"class {job.pinned} takes {takes}; it does not take {job.kind}"
            return InvalidMessage(told)
    if job.operator and job.operator not in CATALOGUED:
        return _unheard_of(state, job)
    return None


def _unheard_of(state: State, job: Job) -> SuiteError | None:
    """The error of an operator that no catalogue and no worker's card names."""
    if state.fleet.was_able(job.kind, job.operator):
        return None
    known = CATALOGUED | state.fleet.operators()
    return UnsupportedOperator(f"no operator {job.operator}; {nearest(job.operator, known)}")


def _reused(event: Arrival, first: str) -> DeadLetter:
    return DeadLetter(
        tenant=event.job.tenant,
        job=event.job.job,
        kind=event.job.body.kind,
        stream=Stream.JOBS,
        reason="job_id_reused",
        code=JobIdReused.code,
        message=f"job id came with digest {event.frame.digest}; it first came with {first}",
        digest=event.frame.digest,
        data=event.frame.data,
        subject=subjects.job(event.job.tenant, event.job.body.kind),
        delivery=event.delivery,
    )
