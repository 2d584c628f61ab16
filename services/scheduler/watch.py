"""Transitions of time: silent workers, deadlines, retries, missing announcements, fairness."""

from collections.abc import Iterator

from services.scheduler import ending, placing, recovery
from services.scheduler.events import Looked
from services.scheduler.fleet import SERVICE_CLASS, Worker
from services.scheduler.instructions import Instruction, Look, Return
from services.scheduler.job import RUNNING, WAITING, Job
from services.scheduler.state import State


def ticked(state: State, now: float) -> Iterator[Instruction]:
    """Everything that becomes due by waiting."""
    gap = now - state.ticked if state.ticked is not None else 0.0
    state.ticked = now
    if gap > state.policy.beat:  # nobody was heard because nobody listened
        state.fleet.excuse(gap)
    yield from silent(state, state.fleet.fall_silent(now), now)
    for job in list(state.jobs.values()):
        yield from _due(state, job, now)
    yield from placing.dispatch(state, now)  # a longer backlog may be worth a slower class
    yield from _give_back(state, now)


def silent(state: State, workers: list[Worker], now: float) -> Iterator[Instruction]:
    """Workers are lost: what they had, or may have had, in hand is placed again at once."""
    if workers:
        state.candidates.clear()
    for worker in workers:
        held, worker.running = worker.running, set()
        for name in sorted(held):
            job = state.jobs.get(name)
            if job is not None:
                yield from recovery.lost(state, job, f"{worker.name} fell silent", now)
        if not worker.draining:  # who drains gives back what it pulled
            yield from recovery.doubted(state, worker, now)
    if workers:
        yield from recovery.reconsider(state, now)


def looked(state: State, event: Looked, now: float) -> Iterator[Instruction]:
    """A record was read for a job about which nothing was heard."""
    job = state.jobs.get(event.key)
    if event.record is not None:
        yield from ending.ended(state, event.key, event.record, now)
    elif job is not None and not event.queued and job.attempt == event.attempt:
        yield from recovery.lost(state, job, "its attempt vanished from the stream", now)


def _due(state: State, job: Job, now: float) -> Iterator[Instruction]:
    deadline = job.message.deadline
    if job.retry_at is not None and job.retry_at <= now and job.pending is not None:
        job.retry_at = None
        yield job.pending
    elif deadline is not None and deadline <= now and job.phase in (WAITING, RUNNING):
        yield ending.expired(state, job, now)
    elif job.phase is WAITING:
        if now - job.arrived > state.policy.patience and not _hope(state, job):
            yield ending.unserved(state, job, now)
    elif job.phase is RUNNING:
        yield from _check(state, job, now)


def _hope(state: State, job: Job) -> bool:
    """Whether a worker that could run the job was ever seen."""
    if job.movable:
        return state.fleet.was_able(job.kind, job.operator)
    wanted = job.pinned or SERVICE_CLASS.get(job.kind, "")
    return state.fleet.seen(wanted)


def _check(state: State, job: Job, now: float) -> Iterator[Instruction]:
    if now < job.look_at:
        return
    if state.fleet.holder(job.key) is not None:
        job.look_at = now + state.policy.look_at_most
        return
    idle = state.fleet.of(job.worker_class).free > 0
    if idle and now - job.since > state.policy.stuck:
        yield from recovery.lost(state, job, "an idle class did not take it", now)
        return
    job.look_gap = min(2 * job.look_gap, state.policy.look_at_most)
    job.look_at = now + job.look_gap
    yield Look(job.tenant, job.id, job.attempt, job.sequence)


def _give_back(state: State, now: float) -> Iterator[Instruction]:
    """Make room in a full window by returning the newest jobs of tenants beyond their share.

    Others may wait in the stream behind them; with one tenant alone half the window is its share.
    """
    policy = state.policy
    full = len(state.held) > 0.75 * policy.window and state.backlog > 0  # it drains meanwhile
    if not full or now - state.returned < policy.return_every:
        return
    state.returned = now
    counts = state.ready.tenants()
    share, most = policy.window // max(2, len(counts)), policy.window // 4
    rounds = state.backlog / most  # until the end of the stream was seen; twice that, to be sure
    delay = max(policy.return_delay, 2.0 * rounds * policy.return_every)
    for tenant, count in counts.items():
        excess = min(count - share, most)
        for job in state.ready.latest(tenant)[: max(0, excess)]:
            if job.delivery is not None:
                yield _return(state, job, job.delivery, delay)


def _return(state: State, job: Job, delivery: int, delay: float) -> Return:
    state.ready.remove(job)
    del state.jobs[job.key]
    state.held.discard(delivery)
    return Return(delivery, delay)
