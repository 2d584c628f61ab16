"""The workers of a simulated world: they crash, stall, come back, and die on poison."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from services.scheduler.events import WorkerGone
from shared.contracts.v1.jobs import JobEvent, JobFinished, Status
from shared.contracts.v1.workers import Heartbeat, WorkerCard
from tests.services.world_broker import RUN_ACK_WAIT, Broker, Message
from tests.services.world_time import Timeline

CLASSES = ("cpu", "cpu", "gpu-pocl")
CARD_TTL = 3.0  # [s], as the broker is set up
BEAT, POLL = 0.5, 0.1  # [s]
REBIRTH = 1.0  # [s] between a death and the next life


@dataclass
class SimWorker:
    """A process with one slot."""

    name: str
    worker_class: str
    alive: bool = True
    stalled: float = 0.0  # [s] until which it neither beats nor finishes
    life: int = 0  # counts restarts
    running: dict[int, str] = field(default_factory=dict)  # sequence -> key

    @property
    def card(self) -> WorkerCard:
        """How it introduces itself."""
        return WorkerCard(
            worker=self.name,
            worker_class=self.worker_class,
            service="simulated",
            pid=1,
            slots=1,
            kinds=("infer", "operator"),
        )

    @property
    def heartbeat(self) -> Heartbeat:
        """What it says of itself."""
        return Heartbeat(
            worker=self.name,
            worker_class=self.worker_class,
            slots=1,
            free=1 - len(self.running),
            running=tuple(self.running.values()),
        )


class Crew:
    """All workers."""

    def __init__(self, time: Timeline, rng: random.Random, broker: Broker) -> None:
        self.workers = {f"w{i}": SimWorker(f"w{i}", name) for i, name in enumerate(CLASSES)}
        self.poison: set[str] = set()  # jobs that kill who runs them
        self.duration: Callable[[], float] = lambda: rng.choice((0.01, 0.05, 0.3, 2.0))
        self._time, self._rng, self._broker = time, rng, broker

    def start(self) -> None:
        """All begin to live."""
        for worker in self.workers.values():
            self._live(worker)

    def cards(self) -> Iterator[WorkerCard]:
        """What the bucket of workers holds."""
        return (worker.card for worker in self.workers.values() if worker.alive)

    def crash(self, name: str) -> None:
        """Die, with everything in hand."""
        worker = self.workers[name]
        if not worker.alive:
            return
        worker.alive, worker.life = False, worker.life + 1
        for sequence in worker.running:
            if sequence in self._broker.run:
                self._broker.come_again(self._broker.run[sequence], RUN_ACK_WAIT)
        worker.running.clear()
        self._time.after(CARD_TTL, lambda life=worker.life: self._expire(worker, life))

    def revive(self, name: str) -> None:
        """Begin a new life."""
        worker = self.workers[name]
        if worker.alive:
            return
        worker.alive, worker.stalled = True, 0.0
        worker.life += 1
        self._live(worker)

    def stall(self, name: str, seconds: float) -> None:
        """Stand still."""
        self.workers[name].stalled = self._time.now + seconds

    def _live(self, worker: SimWorker) -> None:
        self._beat(worker, worker.life)
        self._poll(worker, worker.life)

    def _expire(self, worker: SimWorker, life: int) -> None:
        if worker.life == life:
            self._broker.send(WorkerGone(worker.name))

    def _beat(self, worker: SimWorker, life: int) -> None:
        if worker.life != life or not worker.alive:
            return
        if worker.stalled <= self._time.now:
            self._broker.send(worker.card)
            self._broker.send(worker.heartbeat)
        self._time.after(BEAT, lambda: self._beat(worker, life))

    def _poll(self, worker: SimWorker, life: int) -> None:
        if worker.life != life or not worker.alive:
            return
        now = self._time.now
        if worker.stalled <= now and not worker.running:
            run = self._broker.run.values()
            mine = (each for each in run if each.worker_class == worker.worker_class)
            waiting = (each for each in mine if each.holder is None and each.visible <= now)
            message = next(waiting, None)
            if message is not None:
                self._take(worker, life, message)
        self._time.after(POLL, lambda: self._poll(worker, life))

    def _take(self, worker: SimWorker, life: int, message: Message) -> None:
        if message.key in self._broker.records:
            del self._broker.run[message.sequence]
            return
        message.holder = worker.name
        worker.running[message.sequence] = message.key
        self._broker.send(
            JobEvent(
                job=message.job.job,
                tenant=message.job.tenant,
                what="started",
                at=self._time.now,
                worker=worker.name,
            )
        )
        self._time.after(self.duration(), lambda: self._finish(worker, life, message))

    def _finish(self, worker: SimWorker, life: int, message: Message) -> None:
        if worker.life != life:
            return
        late = worker.stalled - self._time.now
        if message.key in self.poison:
            self._die_for_a_while(worker)
        elif late > 0:
            self._time.after(late, lambda: self._finish(worker, life, message))
        else:
            self._record(worker, message)

    def _record(self, worker: SimWorker, message: Message) -> None:
        self._broker.write(_record(worker, message, self._time.now))
        if self._rng.random() < self._broker.faults.unacknowledged:
            self._die_for_a_while(worker)
            return
        self._broker.run.pop(message.sequence, None)
        worker.running.pop(message.sequence, None)

    def _die_for_a_while(self, worker: SimWorker) -> None:
        self.crash(worker.name)
        self._time.after(REBIRTH, lambda: self.revive(worker.name))


def _record(worker: SimWorker, message: Message, now: float) -> JobFinished:
    deadline = message.job.deadline
    late = deadline is not None and deadline <= now
    return JobFinished(
        job=message.job.job,
        tenant=message.job.tenant,
        kind="operator",
        status=Status.EXPIRED if late else Status.SUCCEEDED,
        digest=message.frame.digest,
        attempt=message.attempt,
        worker=worker.name,
        worker_class=worker.worker_class,
    )
