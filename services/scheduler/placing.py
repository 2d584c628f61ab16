"""Transitions around a placement: lanes, choice, publication, loss."""

from collections.abc import Iterator

from services.scheduler.events import Placed
from services.scheduler.fleet import SERVICE_CLASS
from services.scheduler.instructions import Announce, Discard, Instruction, Place
from services.scheduler.job import Job, Phase
from services.scheduler.state import State
from shared.placement import assign
from shared.placement.assign import Candidate


def enqueue(state: State, job: Job, now: float) -> bool:
    """Queue a job under the classes that could run it now; True when it is first of its lane."""
    job.phase, job.since = Phase.WAITING, now
    job.candidates = _candidates(state, job)
    return state.ready.add(job)


def arrive(state: State, job: Job, now: float) -> Iterator[Instruction]:
    """Queue a job and place it at once when nothing is before it.

    No other waiting job can be placed when this is called, so only this one is tried.
    """
    if enqueue(state, job, now):
        chosen = choose(state, job)
        if chosen is not None:
            state.ready.remove(job)
            yield place(state, job, chosen, now)


def dispatch(state: State, now: float) -> Iterator[Instruction]:
    """Place waiting jobs, in their order, while a class has room for one of them."""
    choices: dict[str, Candidate] = {}

    def wanted(job: Job) -> bool:
        chosen = choose(state, job)
        if chosen is not None:
            choices[job.key] = chosen
        return chosen is not None

    while (job := state.ready.next(wanted)) is not None:
        yield place(state, job, choices[job.key], now)


def choose(state: State, job: Job) -> Candidate | None:
    """The class where a job would end first, if that class has room now.

    None when it should wait: a full class may still be the faster one, and the backlog stays
    orderable as long as it is not placed.
    """
    classes, per_slot = state.fleet.classes, state.policy.queue_per_slot
    if not any(classes[one.worker_class].room(per_slot) > 0 for one in job.candidates):
        return None
    queued = [
        Candidate(one.worker_class, one.seconds, one.source, classes[one.worker_class].wait())
        for one in job.candidates
        if classes[one.worker_class].slots
    ]
    first = assign.best(queued)
    if first is None or classes[first.worker_class].room(per_slot) <= 0:
        return None
    return first


def place(state: State, job: Job, chosen: Candidate, now: float) -> Place:
    """Give the next attempt of a job to a class."""
    on_class = state.fleet.of(chosen.worker_class)
    on_class.outstanding += 1
    on_class.load += chosen.seconds
    job.phase, job.since = Phase.PLACING, now
    job.attempt += 1
    job.worker_class, job.seconds = chosen.worker_class, chosen.seconds
    job.retry_at = None
    job.pending = Place(
        tenant=job.message.tenant,
        job=job.message.job,
        kind=job.kind,
        worker_class=chosen.worker_class,
        attempt=job.attempt,
        digest=job.frame.digest,
        data=job.frame.data,
        reason=_reason(job, chosen),
        delivery=job.delivery,
        replaces=job.sequence,
    )
    return job.pending


def placed(state: State, event: Placed, now: float) -> Iterator[Instruction]:
    """An attempt is stored; its job may have ended, or its class died, in the meantime."""
    job = state.jobs.get(event.key)
    if job is None or job.attempt != event.attempt or job.phase is not Phase.PLACING:
        if job is None or job.sequence != event.sequence:
            yield Discard(event.sequence)
        return
    reason = job.pending.reason if isinstance(job.pending, Place) else ""
    if job.delivery is not None:
        state.held.discard(job.delivery)
    job.delivery, job.sequence, job.pending = None, event.sequence, None
    watch(state, job, now)
    yield Announce(
        tenant=job.message.tenant,
        job=job.message.job,
        what="placed",
        worker_class=job.worker_class,
        attempt=job.attempt,
        reason=reason,
    )
    if not state.fleet.of(job.worker_class).slots:
        yield from move(state, job, now)


def watch(state: State, job: Job, now: float) -> None:
    """From now on a worker may have the job."""
    job.phase, job.since = Phase.RUNNING, now
    job.look_gap = state.policy.look_after
    job.look_at = now + job.look_gap


def release(state: State, job: Job) -> None:
    """A placement no longer counts against its class."""
    if job.phase in (Phase.PLACING, Phase.RUNNING):
        on_class = state.fleet.of(job.worker_class)
        on_class.outstanding -= 1
        on_class.load = max(0.0, on_class.load - job.seconds) if on_class.outstanding else 0.0


def move(state: State, job: Job, now: float) -> Iterator[Instruction]:
    """Let a job go to another class, if one lives and the client did not insist on this one."""
    if job.phase is Phase.RUNNING and job.movable and _candidates(state, job):
        release(state, job)
        yield from arrive(state, job, now)


def _candidates(state: State, job: Job) -> tuple[Candidate, ...]:
    classes = [job.pinned] if job.pinned else _able(state, job)
    found = (state.estimates.job(job.message, job.demand, name) for name in classes)
    for name in classes:
        state.fleet.of(name)
    return tuple(assign.order(found))


def _able(state: State, job: Job) -> list[str]:
    """Live classes that take the job; its service's class whether it lives or not."""
    if job.kind in SERVICE_CLASS:
        return [SERVICE_CLASS[job.kind]]
    return [one.name for one in state.fleet.live() if one.runs(job.kind, job.operator)]


def _reason(job: Job, chosen: Candidate) -> str:
    if job.pinned:
        return f"{job.pinned}: the job is pinned to it"
    if job.kind in SERVICE_CLASS:
        return f"{chosen.worker_class}: it alone takes {job.kind} jobs"
    return assign.reason(chosen, job.candidates)
