"""Transitions around a placement: lanes, choice, publication, loss."""

from collections.abc import Iterator

from services.scheduler.estimates import UNKNOWN
from services.scheduler.events import Placed
from services.scheduler.fleet import SERVICE_CLASS
from services.scheduler.instructions import Announce, Discard, Instruction, Place
from services.scheduler.job import PLACING, RUNNING, WAITING, Job
from services.scheduler.state import State
from shared.placement import assign
from shared.placement.assign import Candidate, Reason


def enqueue(state: State, job: Job, now: float) -> bool:
    """Queue a job under the classes that could run it now; True when it is first of its lane."""
    job.phase, job.since = WAITING, now
    job.candidates = _welcome(job, _candidates(state, job))
    job.lane = tuple([one.worker_class for one in job.candidates])
    job.best = job.candidates[0].seconds if job.candidates else UNKNOWN
    return state.ready.add(job)


def arrive(state: State, job: Job, now: float) -> Iterator[Instruction]:
    """Queue a job and place it at once when nothing is before it.

    No other waiting job could be placed before this one came, so only this one is tried.
    """
    if enqueue(state, job, now) and state.fleet.room:
        chosen = choose(state, job)
        if chosen is not None:
            state.ready.remove(job)
            yield place(state, job, chosen, now)


def dispatch(state: State, now: float) -> Iterator[Instruction]:
    """Place waiting jobs, in their order, while a class has room for one of them."""
    while state.fleet.room:
        answers: dict[int, Candidate | None] = {}  # equal jobs share candidates, and so the answer

        def wanted(job: Job, answers: dict[int, Candidate | None] = answers) -> bool:
            which = id(job.candidates)
            if which not in answers:
                answers[which] = choose(state, job)
            return answers[which] is not None

        job = state.ready.next(wanted)
        chosen = answers[id(job.candidates)] if job is not None else None
        if job is None or chosen is None:
            return
        yield place(state, job, chosen, now)


def choose(state: State, job: Job) -> Candidate | None:
    """The class to place a job on now; None when it should wait, where it stays orderable."""
    fleet, others = state.fleet, state.ready.load - job.best
    return assign.choose(job.candidates, fleet.waits, fleet.room, others / (fleet.slots or 1))


def place(state: State, job: Job, chosen: Candidate, now: float) -> Place:
    """Give the next attempt of a job to a class."""
    reason = _reason(state, job, chosen)
    state.fleet.occupy(chosen.worker_class, chosen.seconds)
    job.phase, job.since = PLACING, now
    job.attempt += 1
    job.worker_class, job.seconds = chosen.worker_class, chosen.seconds
    job.retry_at = None
    job.pending = Place(
        tenant=job.tenant,
        job=job.id,
        kind=job.kind,
        worker_class=chosen.worker_class,
        attempt=job.attempt,
        digest=job.frame.digest,
        data=job.frame.data,
        reason=reason,
        delivery=job.delivery,
        replaces=job.sequence,
    )
    return job.pending


def placed(state: State, event: Placed, now: float) -> Iterator[Instruction]:
    """An attempt is stored; its job may have ended, or its class died, in the meantime."""
    job = state.jobs.get(event.key)
    if job is None or job.attempt != event.attempt or job.phase is not PLACING:
        if job is None or job.sequence != event.sequence:
            yield Discard(event.sequence)
        return
    reason = str(job.pending.reason) if isinstance(job.pending, Place) else ""
    if job.delivery is not None:
        state.held.discard(job.delivery)
    job.delivery, job.sequence, job.pending = None, event.sequence, None
    watch(state, job, now)
    yield Announce(
        tenant=job.tenant,
        job=job.id,
        what="placed",
        worker_class=job.worker_class,
        attempt=job.attempt,
        reason=reason,
    )
    if not state.fleet.of(job.worker_class).slots and movable(state, job):
        yield from move(state, job, now)


def watch(state: State, job: Job, now: float) -> None:
    """From now on a worker may have the job."""
    job.phase, job.since = RUNNING, now
    job.look_gap = state.policy.look_after
    job.look_at = now + job.look_gap


def release(state: State, job: Job) -> None:
    """A placement no longer counts against its class."""
    if job.phase in (PLACING, RUNNING):
        state.fleet.vacate(job.worker_class, job.seconds)


def movable(state: State, job: Job) -> bool:
    """Whether a placed job may go to another class, and one lives that takes it."""
    return job.phase is RUNNING and job.movable and bool(_candidates(state, job))


def elsewhere(state: State, job: Job) -> bool:
    """Whether a placed job may go to a class whose device has not failed it."""
    others = (one.worker_class not in job.shunned for one in _candidates(state, job))
    return job.movable and any(others)


def move(state: State, job: Job, now: float) -> Iterator[Instruction]:
    """Take a job off its class and queue it anew."""
    release(state, job)
    yield from arrive(state, job, now)


def _candidates(state: State, job: Job) -> tuple[Candidate, ...]:
    """Classes that could run a job, the best first; equal jobs get the same tuple."""
    asked = (job.pinned, job.kind, job.subject, job.demand)
    known = state.candidates.get(asked)
    if known is None:
        if len(state.candidates) >= state.policy.remembered:
            state.candidates.clear()
        classes = [job.pinned] if job.pinned else _able(state, job)
        found = (state.estimates.job(job.message, job.demand, name) for name in classes)
        known = state.candidates[asked] = tuple(assign.order(found))
    return known


def _welcome(job: Job, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Candidates without those whose device failed the job; all of them when none is left."""
    if not job.shunned:
        return candidates
    kept = tuple(one for one in candidates if one.worker_class not in job.shunned)
    return kept or candidates


def _able(state: State, job: Job) -> list[str]:
    """Live classes that take the job; its service's class whether it lives or not."""
    if job.kind in SERVICE_CLASS:
        return [SERVICE_CLASS[job.kind]]
    return [one.name for one in state.fleet.live() if one.runs(job.kind, job.operator)]


def _reason(state: State, job: Job, chosen: Candidate) -> Reason | str:
    if job.pinned:
        return f"{job.pinned}: the job is pinned to it"
    if job.kind in SERVICE_CLASS:
        return f"{chosen.worker_class}: it alone takes {job.kind} jobs"
    return assign.reason(chosen, job.candidates, state.fleet.waits)
