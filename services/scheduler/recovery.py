"""Transitions when workers come, go or vanish: what they had moves on."""

from collections.abc import Iterator

from services.scheduler import ending, placing
from services.scheduler.fleet import Worker
from services.scheduler.instructions import Instruction, Place
from services.scheduler.job import RUNNING, Job
from services.scheduler.state import State

DOUBTS = 5  # doubts that weigh as much as one worker lost with the job in hand


def lost(state: State, job: Job, told: str, now: float) -> Iterator[Instruction]:
    """A worker vanished with a job in hand: place it again, or give up after the limit."""
    if job.phase is not RUNNING or state.fleet.holder(job.key) is not None:
        return
    job.lost += 1
    if job.lost >= state.policy.attempts:
        yield ending.exhausted(state, job, told, now)
    else:
        yield from _retry(state, job, now)


def doubted(state: State, worker: Worker, now: float) -> Iterator[Instruction]:
    """A worker vanished; it may have pulled jobs of its class that nobody claims.

    Waiting for the broker to deliver those again takes 10 s. Placing one again that merely waited
    costs a message: the earlier attempt is deleted, and the record is written once.
    """
    claimed = state.fleet.claimed()
    for job in list(state.jobs.values()):
        mine = job.phase is RUNNING and job.worker_class == worker.worker_class
        if not mine or job.key in claimed:
            continue
        job.doubts += 1
        if job.doubts >= DOUBTS * state.policy.attempts:
            yield ending.exhausted(state, job, f"{worker.name} fell silent", now)
        else:
            yield from _retry(state, job, now)


def returned(state: State, job: Job, worker_class: str, now: float) -> Iterator[Instruction]:
    """A worker gave a job back because its device failed: another class takes it, if one can;
    else the broker delivers it to the same class again."""
    if job.phase is not RUNNING or job.worker_class != worker_class:
        return
    job.shunned |= {worker_class}
    if placing.elsewhere(state, job):
        yield from placing.move(state, job, now)


def reconsider(state: State, now: float) -> Iterator[Instruction]:
    """Classes came, went or were measured: queue everything anew and leave the dead classes."""
    state.candidates.clear()
    for job in state.ready.drain():
        placing.enqueue(state, job, now)
    yield from placing.dispatch(state, now)
    for job in list(state.jobs.values()):
        orphan = job.phase is RUNNING and not state.fleet.of(job.worker_class).slots
        held = orphan and state.fleet.holder(job.key) is not None  # who drains ends its own
        if orphan and not held and placing.movable(state, job):
            yield from placing.move(state, job, now)


def _retry(state: State, job: Job, now: float) -> Iterator[Instruction]:
    """Elsewhere if its class is dead and another may take it, else for whoever comes back."""
    if not state.fleet.of(job.worker_class).slots and placing.movable(state, job):
        yield from placing.move(state, job, now)
    else:
        yield _again(state, job, now)


def _again(state: State, job: Job, now: float) -> Place:
    """Publish the next attempt on the class that has it; the earlier one is deleted then."""
    placing.release(state, job)
    known = next((c for c in job.candidates if c.worker_class == job.worker_class), None)
    chosen = known or state.estimates.job(job.message, job.demand, job.worker_class)
    return placing.place(state, job, chosen, now)
