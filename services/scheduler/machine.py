"""The scheduler's decisions: events in, instructions out; no clock, no bus, no await.

A job is accepted when it is delivered, placed when EL_RUN has stored an attempt of it, and ended
when it has its write-once record. The frames of unfinished jobs are kept here, so that an attempt
can be given to another class without reading anything back; there are at most a window of waiting
jobs and two placed ones per slot. After a restart they are found again in EL_JOBS and EL_RUN.
"""

from collections.abc import Iterator

from services.scheduler import arrivals, ending, placing, recovery, routes, state, watch
from services.scheduler.events import (
    Arrival,
    Backlog,
    Cancelled,
    Ended,
    Event,
    Found,
    Looked,
    ModelGone,
    Placed,
    ProfileGone,
    Tick,
    Unperformed,
    Unreadable,
    WorkerGone,
    key,
)
from services.scheduler.instructions import DeadLetter, Finish, Instruction, Place, Return
from services.scheduler.policy import DEFAULT, Policy
from shared.contracts.v1.jobs import JobEvent, JobFinished
from shared.contracts.v1.models import ModelManifest, Route
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, WorkerCard


class Machine:
    """One scheduler's state and the only way to change it."""

    def __init__(self, policy: Policy = DEFAULT) -> None:
        self._state = state.fresh(policy)

    @property
    def room(self) -> int:
        """How many more jobs may be held."""
        return max(0, self._state.policy.window - len(self._state.held))

    @property
    def held(self) -> int:
        """Jobs held and not yet placed."""
        return len(self._state.held)

    @property
    def unfinished(self) -> int:
        """Jobs accepted, or found placed, that have no record yet."""
        return len(self._state.jobs)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take note of an event at `now` [s since the epoch, never running back]."""
        match event:
            case Arrival() | Unreadable() | Found() | Placed() | Looked() | Unperformed():
                return list(self._of_job(event, now))
            case JobFinished() | Ended() | Cancelled():
                return list(self._of_end(event, now))
            case Heartbeat() | WorkerCard() | WorkerGone():
                return list(self._of_worker(event, now))
            case ModelManifest() | ModelGone() | DeviceProfile() | ProfileGone() | Route():
                return list(self._of_knowledge(event, now))
            case Backlog():
                self._state.backlog = event.waiting
                return []
            case JobEvent():
                return list(self._of_attempt(event, now))
            case Tick():
                return list(watch.ticked(self._state, now))

    def _of_job(
        self,
        event: Arrival | Unreadable | Found | Placed | Looked | Unperformed,
        now: float,
    ) -> Iterator[Instruction]:
        match event:
            case Arrival():
                return arrivals.arrived(self._state, event, now)
            case Unreadable():
                return arrivals.unreadable(self._state, event)
            case Found():
                return arrivals.found(self._state, event, now)
            case Placed():
                return placing.placed(self._state, event, now)
            case Looked():
                return watch.looked(self._state, event, now)
            case Unperformed():
                return self._unperformed(event, now)

    def _of_attempt(self, event: JobEvent, now: float) -> Iterator[Instruction]:
        name = key(event.tenant, event.job)
        if event.what == "started":
            self._state.fleet.started(event.worker, name)
        elif event.what == "returned" and (job := self._state.jobs.get(name)) is not None:
            yield from recovery.returned(self._state, job, event.worker_class, now)

    def _of_end(self, event: JobFinished | Ended | Cancelled, now: float) -> Iterator[Instruction]:
        match event:
            case JobFinished():
                return ending.ended(self._state, key(event.tenant, event.job), event, now)
            case Ended():
                return ending.ended(self._state, event.key, None, now)
            case Cancelled():
                return ending.wished(self._state, event.tenant, event.job, now)

    def _of_worker(
        self, event: Heartbeat | WorkerCard | WorkerGone, now: float
    ) -> Iterator[Instruction]:
        fleet = self._state.fleet
        match event:
            case Heartbeat():
                changed = fleet.heard(event, now)
            case WorkerCard():
                changed = fleet.card(event, now)
            case WorkerGone():
                worker = fleet.gone(event.worker)
                yield from watch.silent(self._state, [worker] if worker else [], now)
                changed = worker is not None
        if changed:
            yield from recovery.reconsider(self._state, now)
            yield from routes.refreshed(self._state, list(self._state.estimates.models))

    def _of_knowledge(
        self,
        event: ModelManifest | ModelGone | DeviceProfile | ProfileGone | Route,
        now: float,
    ) -> Iterator[Instruction]:
        known = self._state.estimates
        match event:
            case ModelManifest():
                known.models[event.model] = event
                yield from recovery.reconsider(self._state, now)
                yield from routes.refreshed(self._state, [event.model])
            case ModelGone():
                yield from routes.removed(self._state, event.model)
            case DeviceProfile():
                known.profiled(event)
                yield from recovery.reconsider(self._state, now)
                yield from routes.refreshed(self._state, list(known.models))
            case ProfileGone():
                known.figures.pop(event.worker_class, None)
                yield from recovery.reconsider(self._state, now)
                yield from routes.refreshed(self._state, list(known.models))
            case Route():
                self._state.routes[event.model] = event

    def _unperformed(self, event: Unperformed, now: float) -> Iterator[Instruction]:
        """Give it again later: the same attempt, so that the broker can tell it is the same."""
        match event.instruction:
            case (Place() | Finish()) as asked:
                job = self._state.jobs.get(key(asked.tenant, asked.job))
                if job is not None and job.pending == asked:
                    job.retry_at = now + self._state.policy.retry
                elif asked.delivery is not None and (job is None or job.delivery != asked.delivery):
                    yield Return(asked.delivery, self._state.policy.retry)
            case DeadLetter(delivery=int() as delivery):
                yield Return(delivery, self._state.policy.retry)
            case _:
                return
