"""The workers that live, and what room each class has; the only home of liveness."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from services.scheduler.policy import Policy
from shared.contracts.v1.workers import Heartbeat, WorkerCard

SERVICE_CLASS = {  # of jobs that are not pinned
    "import": "compressor",
    "compress": "compressor",
    "train": "compressor",
    "profile": "profiler",
}


@dataclass(slots=True)
class Worker:
    """One worker as its card and its last heartbeat describe it."""

    name: str
    worker_class: str
    slots: int
    beat: float  # [s] when it was last heard
    running: set[str] = field(default_factory=set)  # jobs in hand, as far as it said
    free: int = 0
    kinds: tuple[str, ...] = ()
    operators: frozenset[str] = frozenset()
    draining: bool = False
    silent: bool = False

    @property
    def live(self) -> bool:
        """Whether it may be given work."""
        return not (self.draining or self.silent)


@dataclass(slots=True)
class WorkerClass:
    """A set of workers that can stand in for one another, and what is placed on it."""

    name: str
    slots: int = 0  # of live workers
    free: int = 0  # of them unused, by their last heartbeats
    limit: int = 1  # of what may be outstanding
    kinds: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    outstanding: int = 0  # placed and not finished
    load: float = 0.0  # [s] expected of what is outstanding

    def runs(self, kind: str, operator: str) -> bool:
        """Whether its live workers said they take this kind of job, and this operator if any."""
        able = not operator or not self.operators or operator in self.operators
        return kind in self.kinds and able


@dataclass(slots=True)
class Fleet:
    """All workers and classes; every change of who lives is reported by its return value."""

    policy: Policy
    workers: dict[str, Worker] = field(default_factory=dict)
    classes: dict[str, WorkerClass] = field(default_factory=dict)
    ever: set[str] = field(default_factory=set)  # classes that had a live worker
    waits: dict[str, float] = field(default_factory=dict)  # [s] until each live class could start
    room: set[str] = field(default_factory=set)  # live classes that may be given work
    slots: int = 0  # of all live workers

    def of(self, worker_class: str) -> WorkerClass:
        """A class, made when it is new."""
        known = self.classes.get(worker_class)
        if known is None:
            known = self.classes[worker_class] = WorkerClass(worker_class)
        return known

    def seen(self, worker_class: str) -> bool:
        """Whether a worker of this class was ever heard of."""
        return worker_class in self.ever

    def was_able(self, kind: str, operator: str) -> bool:
        """Whether a worker that takes this was ever heard of."""
        heard = (self.classes[name] for name in self.ever)
        return any(one.runs(kind, operator) for one in heard)

    def operators(self) -> frozenset[str]:
        """Every operator that a card has named."""
        return frozenset().union(*(one.operators for one in self.classes.values()))

    def live(self) -> Iterator[WorkerClass]:
        """Classes with at least one live worker."""
        return (one for one in self.classes.values() if one.slots)

    def card(self, card: WorkerCard, now: float) -> bool:
        """Note a card; True when the abilities or slots of its class changed."""
        known = self.workers.get(card.worker)
        if known is None or known.worker_class != card.worker_class:
            known = Worker(card.worker, card.worker_class, card.slots, now, free=card.slots)
            self.workers[card.worker] = known
        known.slots, known.draining = card.slots, card.draining
        known.kinds, known.operators = card.kinds, frozenset(card.operators)
        return self._recount(card.worker_class)

    def heard(self, beat: Heartbeat, now: float) -> bool:
        """Note a heartbeat; True when the class gained or lost slots, or has none and a worker that
        drains let go of a job, which may have to move."""
        worker = self.workers.get(beat.worker)
        if worker is None or worker.worker_class != beat.worker_class:
            worker = Worker(beat.worker, beat.worker_class, beat.slots, now)
            self.workers[beat.worker] = worker
        same = (worker.slots, worker.draining, worker.silent) == (beat.slots, beat.draining, False)
        given_back = beat.draining and not worker.running <= {*beat.running}
        worker.beat, worker.silent, worker.draining = now, False, beat.draining
        worker.slots, worker.running = beat.slots, set(beat.running)
        before, worker.free = worker.free, beat.free
        of_class = self.of(beat.worker_class)
        if same and of_class.slots:
            of_class.free += worker.free - before if worker.live else 0
            return False
        return self._recount(beat.worker_class) or given_back

    def started(self, name: str, key: str) -> None:
        """A worker said that it took a job; its next heartbeat will say so too, or not."""
        worker = self.workers.get(name)
        if worker is not None:
            worker.running.add(key)

    def occupy(self, worker_class: str, seconds: float) -> None:
        """Something that should take so long was placed."""
        one = self.of(worker_class)
        one.outstanding += 1
        one.load += seconds
        self._weigh(one)

    def vacate(self, worker_class: str, seconds: float) -> None:
        """It ended, or went elsewhere."""
        one = self.of(worker_class)
        one.outstanding -= 1
        one.load = max(0.0, one.load - seconds) if one.outstanding else 0.0
        self._weigh(one)

    def gone(self, name: str) -> Worker | None:
        """Forget a worker whose card disappeared; returns it with what it had in hand."""
        worker = self.workers.pop(name, None)
        if worker is not None:
            self._recount(worker.worker_class)
        return worker

    def fall_silent(self, now: float) -> list[Worker]:
        """Mark the workers whose heartbeats stopped; returns those newly silent."""
        lost = [
            worker
            for worker in self.workers.values()
            if not worker.silent and now - worker.beat > self.policy.silence
        ]
        for worker in lost:
            worker.silent = True
            self._recount(worker.worker_class)
        return lost

    def excuse(self, seconds: float) -> None:
        """The scheduler itself stood still: nobody could be heard for so long."""
        for worker in self.workers.values():
            worker.beat += seconds

    def holder(self, key: str) -> Worker | None:
        """The worker that says it has this job in hand, unless it is silent."""
        for worker in self.workers.values():
            if not worker.silent and key in worker.running:
                return worker
        return None

    def claimed(self) -> set[str]:
        """Every job that a worker says it has in hand, but for the silent ones."""
        return set().union(*(one.running for one in self.workers.values() if not one.silent))

    def _recount(self, worker_class: str) -> bool:
        one = self.of(worker_class)
        before = one.slots, one.kinds, one.operators
        mine = [w for w in self.workers.values() if w.worker_class == worker_class and w.live]
        one.slots, one.free = sum(w.slots for w in mine), sum(w.free for w in mine)
        one.limit = max(1, self.policy.queue_per_slot * one.slots)
        if mine:
            self.ever.add(worker_class)
            one.kinds = frozenset(kind for w in mine for kind in w.kinds)
            one.operators = frozenset(name for w in mine for name in w.operators)
        self.slots = sum(each.slots for each in self.classes.values())
        self._weigh(one)
        return before != (one.slots, one.kinds, one.operators)

    def _weigh(self, one: WorkerClass) -> None:
        self.room.discard(one.name)
        if not one.slots:
            self.waits.pop(one.name, None)
            return
        self.waits[one.name] = one.load / one.slots
        if one.outstanding < one.limit:
            self.room.add(one.name)
