"""A world around the real machine, whose broker, workers and clock fail by seed.

Announcements are lost, late or doubled, workers crash, stall and kill themselves on poison, the
scheduler loses its memory, calls are refused.
"""

import hashlib
import random
from collections.abc import Callable

from services.scheduler.events import Cancelled, Frame, key
from services.scheduler.instructions import DeadLetter
from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import JobFinished, JobSubmitted, OperatorBody, Status
from tests.services.world_broker import Broker, Faults
from tests.services.world_scheduler import Scheduler
from tests.services.world_time import Act, Timeline
from tests.services.world_workers import Crew, SimWorker

SETTLE = 240.0  # [s] of simulated time within which every job must have ended
BEGINNING = 1_000_000.0  # [s]


class World:
    """Clients, broker, workers and one scheduler, driven by a queue of timed acts."""

    def __init__(self, rng: random.Random, faults: Faults, policy: Policy | None = None) -> None:
        self.accepted: dict[str, float] = {}
        self._time = Timeline(BEGINNING)
        self._broker = Broker(self._time, rng, faults)
        self._crew = Crew(self._time, rng, self._broker)
        bounds = policy or Policy(look_after=1.0, stuck=15.0)
        self._scheduler = Scheduler(self._time, rng, self._broker, bounds)
        self.restart_scheduler()
        self._crew.start()

    # what has happened

    @property
    def now(self) -> float:
        """Simulated time [s]."""
        return self._time.now

    @property
    def records(self) -> dict[str, JobFinished]:
        """How jobs ended, by `<tenant>.<job>`."""
        return self._broker.records

    @property
    def letters(self) -> list[DeadLetter]:
        """What was kept for people."""
        return self._broker.letters

    @property
    def workers(self) -> dict[str, SimWorker]:
        """All workers by name."""
        return self._crew.workers

    def quiet(self) -> bool:
        """Whether every job has ended and nothing of it is left."""
        done = self.accepted.keys() <= self.records.keys()
        empty = not self._broker.intake and not self._broker.run
        return done and empty and not self._scheduler.machine.unfinished

    def describe(self) -> str:
        """What is left, for the person who reads the failure."""
        missing = self.accepted.keys() - self.records.keys()
        run = [(m.job.job, m.worker_class, m.attempt) for m in self._broker.run.values()]
        return (
            f"without record: {sorted(missing)}; in EL_JOBS: {list(self._broker.intake)};"
            f" in EL_RUN: {run}; unfinished in the machine: {self._scheduler.machine.unfinished}"
        )

    # what happens

    def after(self, delay: float, act: Act) -> None:
        """Have something happen in `delay` seconds."""
        self._time.after(delay, act)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._time.advance(seconds)

    def settle(self) -> None:
        """Let the world be kind and wait until everything has ended."""
        self._broker.faults = Faults()
        deadline = self.now + SETTLE
        while self.now < deadline and not self.quiet():
            for name in self.workers:
                self.revive(name)
            self.advance(0.5)
        assert self.quiet(), self.describe()

    def submit(
        self,
        job: str,
        *,
        tenant: str = "a",
        pinned: str | None = None,
        deadline: float | None = None,
        priority: int = 4,
        body: str = "",
    ) -> None:
        """A client publishes a job; `deadline` is in so many seconds."""
        message = JobSubmitted(
            job=job,
            tenant=tenant,
            priority=priority,
            deadline=None if deadline is None else self.now + deadline,
            worker_class=pinned,
            body=OperatorBody(operator="relu", attributes={"note": body} if body else {}),
        )
        data = message.encode()
        self._broker.accept(message, Frame(data, hashlib.sha256(data).hexdigest()))
        self.accepted.setdefault(key(tenant, job), self.now)

    def cancel(self, name: str) -> None:
        """What the gateway does: write the record, then tell everybody."""
        tenant, job = name.split(".")
        record = JobFinished(job=job, tenant=tenant, kind="operator", status=Status.CANCELLED)
        self._broker.write(record)
        self._broker.send(Cancelled(tenant, job))

    def poison(self, name: str) -> None:
        """Make a job kill every worker that runs it."""
        self._crew.poison.add(name)

    def poisoned(self, name: str) -> bool:
        """Whether a job kills who runs it."""
        return name in self._crew.poison

    def last_for(self, duration: Callable[[], float]) -> None:
        """Say how long jobs take [s]."""
        self._crew.duration = duration

    def restart_scheduler(self) -> None:
        """The scheduler dies, and another one begins."""
        self._scheduler.restart(self._crew.cards())

    def crash(self, worker: str) -> None:
        """A worker dies, with everything in hand."""
        self._crew.crash(worker)

    def revive(self, worker: str) -> None:
        """A dead worker comes back."""
        self._crew.revive(worker)

    def stall(self, worker: str, seconds: float) -> None:
        """A worker stands still."""
        self._crew.stall(worker, seconds)
