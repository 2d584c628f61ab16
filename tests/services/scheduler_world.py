"""A world around the real machine: streams, workers and clocks that fail by seed.

The world keeps the promises of the broker (work queues redeliver, records are written once, ids are
deduplicated) and breaks everything else: announcements are lost, late or doubled, workers crash,
stall and kill themselves on poison, the scheduler loses its memory, calls are refused.
"""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from services.scheduler.events import (
    Arrival,
    Backlog,
    Cancelled,
    Ended,
    Event,
    Found,
    Frame,
    Looked,
    Placed,
    Tick,
    Unperformed,
    WorkerGone,
    key,
)
from services.scheduler.instructions import (
    Acknowledge,
    DeadLetter,
    Discard,
    Finish,
    Instruction,
    Look,
    Place,
    Return,
)
from services.scheduler.machine import Machine
from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import (
    JobEvent,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    Status,
)
from shared.contracts.v1.workers import Heartbeat, WorkerCard

ACK_WAIT, RUN_ACK_WAIT, CARD_TTL = 5.0, 10.0, 3.0  # [s], as the broker is set up
SETTLE = 240.0  # [s] of simulated time within which every job must have ended
CLASSES = ("cpu", "cpu", "gpu-pocl")


@dataclass
class Faults:
    """Probabilities of what goes wrong, per occasion."""

    lost: float = 0.0  # an announcement, start or heartbeat never arrives
    doubled: float = 0.0  # an announcement arrives twice
    late: float = 0.0  # an announcement takes seconds
    refused: float = 0.0  # a call to the broker fails
    unacknowledged: float = 0.0  # a worker dies between record and acknowledgement


@dataclass
class Message:
    """One message of a work queue."""

    sequence: int
    job: JobSubmitted
    frame: Frame
    worker_class: str = ""
    attempt: int = 0
    visible: float = 0.0  # [s] when it may be delivered next
    holder: object = None


@dataclass
class SimWorker:
    """A process that pulls, computes and may die."""

    name: str
    worker_class: str
    alive: bool = True
    stalled: float = 0.0  # [s] until which it neither beats nor finishes
    life: int = 0  # counts restarts
    running: dict[int, str] = field(default_factory=dict)  # sequence -> key


class World:
    """Broker, workers and one scheduler, driven by a queue of timed acts."""

    def __init__(self, rng: random.Random, faults: Faults, policy: Policy | None = None) -> None:
        self.rng = rng
        self.faults = faults
        self.policy = policy or Policy(look_after=1.0, stuck=15.0)
        self.now = 1_000_000.0
        self.intake: dict[int, Message] = {}  # EL_JOBS
        self.run: dict[int, Message] = {}  # EL_RUN
        self.ids: dict[str, int] = {}  # deduplication of EL_RUN
        self.records: dict[str, JobFinished] = {}  # EL_RES
        self.ended_at: dict[str, float] = {}
        self.letters: list[DeadLetter] = []
        self.accepted: dict[str, float] = {}
        self.poison: set[str] = set()
        self.executions = 0
        self.duration: Callable[[], float] = lambda: self.rng.choice((0.01, 0.05, 0.3, 2.0))
        self._acts: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count(1)
        self.workers = {
            f"w{i}": SimWorker(f"w{i}", worker_class) for i, worker_class in enumerate(CLASSES)
        }
        self.session = 0
        self.machine = Machine(self.policy)
        self.restart_scheduler()
        for worker in self.workers.values():
            self._beat(worker, worker.life)
            self._poll(worker, worker.life)

    # time

    def after(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._acts, (self.now + delay, next(self._number), act))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._acts and self._acts[0][0] <= until:
            self.now, _, act = heapq.heappop(self._acts)
            act()
        self.now = until

    def settle(self) -> None:
        """Let the world be kind and wait until everything has ended."""
        self.faults = Faults()
        deadline = self.now + SETTLE
        while self.now < deadline and not self.quiet():
            for worker in self.workers.values():
                self.revive(worker.name)
            self.advance(0.5)
        assert self.quiet(), self.describe()

    def quiet(self) -> bool:
        done = self.accepted.keys() <= self.records.keys()
        return done and not self.intake and not self.run and not self.machine.unfinished

    def describe(self) -> str:
        missing = self.accepted.keys() - self.records.keys()
        return (
            f"without record: {sorted(missing)}; in EL_JOBS: {list(self.intake)}; in EL_RUN:"
            f" {[(m.job.job, m.worker_class, m.attempt) for m in self.run.values()]};"
            f" unfinished in the machine: {self.machine.unfinished}"
        )

    # clients

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
        message = JobSubmitted(
            job=job,
            tenant=tenant,
            priority=priority,
            deadline=None if deadline is None else self.now + deadline,
            worker_class=pinned,
            body=OperatorBody(operator="relu", attributes={"note": body} if body else {}),
        )
        data = message.encode()
        frame = Frame(data, hashlib.sha256(data).hexdigest())
        sequence = next(self._number)
        self.intake[sequence] = Message(sequence, message, frame)
        self.accepted.setdefault(key(tenant, job), self.now)

    def cancel(self, name: str) -> None:
        """What the gateway does: write the record, then tell everybody."""
        tenant, job = name.split(".")
        record = JobFinished(job=job, tenant=tenant, kind="operator", status=Status.CANCELLED)
        self.write(record)
        self.send(Cancelled(tenant, job))

    # broker

    def write(self, record: JobFinished) -> bool:
        name = key(record.tenant, record.job)
        if name in self.records:
            return False
        self.records[name] = record
        self.ended_at[name] = self.now
        self.send(record)
        return True

    def send(self, event: Event) -> None:
        """Announce to the scheduler, or lose it, be late, or say it twice."""
        if self.rng.random() < self.faults.lost:
            return
        times = 2 if self.rng.random() < self.faults.doubled else 1
        for _ in range(times):
            late = self.rng.random() < self.faults.late
            delay = self.rng.uniform(0.5, 8.0) if late else self.rng.uniform(0.001, 0.01)
            self.after(delay, lambda: self.feed(event, self.session))

    # scheduler

    def restart_scheduler(self) -> None:
        """A new process knows what buckets and streams hold, and nothing else."""
        self.session += 1
        self.machine = Machine(self.policy)
        for message in self.intake.values():
            if message.holder is not None:
                self._come_again(message, ACK_WAIT)
        session = self.session
        for worker in self.workers.values():
            if worker.alive:
                self.feed(card(worker), session)
        for message in list(self.run.values()):
            found = Found(
                message.sequence, message.worker_class, message.attempt, message.job, message.frame
            )
            self.feed(found, session)
        self._tick(session)

    def feed(self, event: Event, session: int) -> None:
        if session != self.session:
            return
        for instruction in self.machine.handle(event, self.now):
            self.after(self.rng.uniform(0.001, 0.02), self._performed(instruction, session))

    def _tick(self, session: int) -> None:
        if session != self.session:
            return
        self.feed(Tick(), session)
        idle = [message for message in self.intake.values() if message.holder is None]
        self.feed(Backlog(len(idle)), session)  # returned ones count: they wait as well
        ready = [message for message in idle if message.visible <= self.now]
        for message in ready[: self.machine.room]:
            message.holder = session
            self.after(self.rng.uniform(0.001, 0.01), self._arriving(message, session))
        self.after(0.2, lambda: self._tick(session))

    def _arriving(self, message: Message, session: int) -> Callable[[], None]:
        def read() -> None:
            record = self.records.get(key(message.job.tenant, message.job.job))
            arrival = Arrival(message.sequence, message.job, message.frame, record=record)
            self.after(self.rng.uniform(0.0, 0.01), lambda: self.feed(arrival, session))

        return read

    def _performed(self, instruction: Instruction, session: int) -> Callable[[], None]:
        def perform() -> None:
            if session != self.session:
                return
            if self.rng.random() < self.faults.refused:
                match instruction:  # no longer kept in hand, so the broker delivers it again
                    case Acknowledge(delivery) | Return(delivery) if delivery in self.intake:
                        self._come_again(self.intake[delivery], ACK_WAIT)
                self.feed(Unperformed(instruction, "the broker is away"), session)
                return
            for delay, act in self._steps(instruction, session):
                self.after(delay, act)

        return perform

    def _steps(
        self, instruction: Instruction, session: int
    ) -> list[tuple[float, Callable[[], None]]]:
        """The acts of one instruction; the scheduler may die between any two of them."""
        pause = self.rng.uniform(0.0, 0.01)

        def mine(act: Callable[[], None]) -> Callable[[], None]:
            return lambda: act() if session == self.session else None

        match instruction:
            case Place() as asked:
                sequence = self._store(asked)
                settle = mine(lambda: self._settle(asked.delivery, asked.replaces))
                placed = Placed(key(asked.tenant, asked.job), asked.attempt, sequence)
                return [(pause, settle), (2 * pause, lambda: self.feed(placed, session))]
            case Finish() as asked:
                self.write(record_of(asked))
                letter = [asked.letter] if asked.letter else []
                self.letters.extend(letter)
                settle = mine(lambda: self._settle(asked.delivery, asked.queued))
                told = Ended(key(asked.tenant, asked.job))
                return [(pause, settle), (2 * pause, lambda: self.feed(told, session))]
            case Look() as asked:
                name = key(asked.tenant, asked.job)
                queued = asked.sequence in self.run
                told = Looked(name, asked.attempt, self.records.get(name), queued)
                return [(pause, lambda: self.feed(told, session))]
            case _:
                return [(0.0, lambda: self._simple(instruction))]

    def _simple(self, instruction: Instruction) -> None:
        match instruction:
            case Acknowledge(delivery):
                self._settle(delivery, None)
            case Return(delivery, delay) if delivery in self.intake:
                self._come_again(self.intake[delivery], delay)
            case Discard(sequence):
                self._settle(None, sequence)
            case DeadLetter() as letter:
                self.letters.append(letter)
                self._settle(letter.delivery, None)
            case _:
                pass

    def _come_again(self, message: Message, delay: float) -> None:
        message.holder, message.visible = None, self.now + delay

    def _store(self, asked: Place) -> int:
        name = f"{asked.tenant}.{asked.job}.{asked.attempt}"
        if name not in self.ids:
            sequence = self.ids[name] = next(self._number)
            job = JobSubmitted.decode(asked.data)
            frame = Frame(asked.data, asked.digest)
            self.run[sequence] = Message(sequence, job, frame, asked.worker_class, asked.attempt)
        return self.ids[name]

    def _settle(self, delivery: int | None, stale: int | None) -> None:
        if delivery is not None:
            self.intake.pop(delivery, None)
        if stale is not None:
            self.run.pop(stale, None)

    # workers

    def crash(self, name: str) -> None:
        worker = self.workers[name]
        if not worker.alive:
            return
        worker.alive, worker.life = False, worker.life + 1
        for sequence in worker.running:
            if sequence in self.run:
                self._come_again(self.run[sequence], RUN_ACK_WAIT)
        worker.running.clear()
        life = worker.life
        self.after(CARD_TTL, lambda: self.send(WorkerGone(name)) if worker.life == life else None)

    def revive(self, name: str) -> None:
        worker = self.workers[name]
        if worker.alive:
            return
        worker.alive, worker.stalled = True, 0.0
        worker.life += 1
        self._beat(worker, worker.life)
        self._poll(worker, worker.life)

    def stall(self, name: str, seconds: float) -> None:
        self.workers[name].stalled = self.now + seconds

    def _beat(self, worker: SimWorker, life: int) -> None:
        if worker.life != life or not worker.alive:
            return
        if worker.stalled <= self.now:
            self.send(card(worker))
            self.send(
                Heartbeat(
                    worker=worker.name,
                    worker_class=worker.worker_class,
                    slots=1,
                    free=1 - len(worker.running),
                    running=tuple(worker.running.values()),
                )
            )
        self.after(0.5, lambda: self._beat(worker, life))

    def _poll(self, worker: SimWorker, life: int) -> None:
        if worker.life != life or not worker.alive:
            return
        if worker.stalled <= self.now and not worker.running:
            mine = (m for m in self.run.values() if m.worker_class == worker.worker_class)
            waiting = (m for m in mine if m.holder is None and m.visible <= self.now)
            message = next(waiting, None)
            if message is not None:
                self._take(worker, life, message)
        self.after(0.1, lambda: self._poll(worker, life))

    def _take(self, worker: SimWorker, life: int, message: Message) -> None:
        name = key(message.job.tenant, message.job.job)
        if name in self.records:
            del self.run[message.sequence]
            return
        message.holder = worker.name
        worker.running[message.sequence] = name
        self.executions += 1
        self.send(
            JobEvent(
                job=message.job.job,
                tenant=message.job.tenant,
                what="started",
                at=self.now,
                worker=worker.name,
            )
        )
        self.after(self.duration(), lambda: self._finish(worker, life, message))

    def _finish(self, worker: SimWorker, life: int, message: Message) -> None:
        if worker.life != life:
            return
        name = key(message.job.tenant, message.job.job)
        if name in self.poison:
            self.crash(worker.name)
            self.after(1.0, lambda: self.revive(worker.name))
            return
        if worker.stalled > self.now:
            self.after(worker.stalled - self.now, lambda: self._finish(worker, life, message))
            return
        deadline = message.job.deadline
        late = deadline is not None and deadline <= self.now
        self.write(
            JobFinished(
                job=message.job.job,
                tenant=message.job.tenant,
                kind="operator",
                status=Status.EXPIRED if late else Status.SUCCEEDED,
                digest=message.frame.digest,
                attempt=message.attempt,
                worker=worker.name,
                worker_class=worker.worker_class,
            )
        )
        if self.rng.random() < self.faults.unacknowledged:
            self.crash(worker.name)
            self.after(1.0, lambda: self.revive(worker.name))
            return
        self.run.pop(message.sequence, None)
        worker.running.pop(message.sequence, None)


def card(worker: SimWorker) -> WorkerCard:
    return WorkerCard(
        worker=worker.name,
        worker_class=worker.worker_class,
        service="simulated",
        pid=1,
        slots=1,
        kinds=("infer", "operator"),
    )


def record_of(asked: Finish) -> JobFinished:
    return JobFinished(
        job=asked.job,
        tenant=asked.tenant,
        kind=asked.kind,
        status=asked.status,
        digest=asked.digest,
        failure=asked.failure,
    )
