"""The broker of a simulated world: it keeps the promises of streams and breaks all others.

Work queues redeliver, records are written once, ids are deduplicated; announcements are lost, late
or doubled.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from services.scheduler.events import Event, Frame, key
from services.scheduler.instructions import DeadLetter, Place
from shared.contracts.v1.jobs import JobFinished, JobSubmitted
from tests.services.world_time import Timeline

ACK_WAIT, RUN_ACK_WAIT = 5.0, 10.0  # [s], as the broker is set up


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

    @property
    def key(self) -> str:
        """The name of its job among all tenants."""
        return key(self.job.tenant, self.job.job)


class Broker:
    """Streams by name of what is in them, and announcements to whoever schedules."""

    def __init__(self, time: Timeline, rng: random.Random, faults: Faults) -> None:
        self.faults = faults
        self.intake: dict[int, Message] = {}  # EL_JOBS
        self.run: dict[int, Message] = {}  # EL_RUN
        self.records: dict[str, JobFinished] = {}  # EL_RES
        self.letters: list[DeadLetter] = []
        self.hear: Callable[[Event], None] = lambda _event: None
        self._time, self._rng = time, rng
        self._sequence = itertools.count(1)
        self._ids: dict[str, int] = {}  # deduplication of EL_RUN

    def accept(self, job: JobSubmitted, frame: Frame) -> None:
        """Store a submission."""
        sequence = next(self._sequence)
        self.intake[sequence] = Message(sequence, job, frame)

    def place(self, asked: Place) -> int:
        """Store an attempt once per id; returns its sequence."""
        name = f"{asked.tenant}.{asked.job}.{asked.attempt}"
        if name not in self._ids:
            sequence = self._ids[name] = next(self._sequence)
            job = JobSubmitted.decode(asked.data)
            frame = Frame(asked.data, asked.digest)
            self.run[sequence] = Message(sequence, job, frame, asked.worker_class, asked.attempt)
        return self._ids[name]

    def settle(self, delivery: int | None, stale: int | None) -> None:
        """Acknowledge a submission, delete an attempt."""
        if delivery is not None:
            self.intake.pop(delivery, None)
        if stale is not None:
            self.run.pop(stale, None)

    def come_again(self, message: Message, delay: float) -> None:
        """Nobody holds a message any more."""
        message.holder, message.visible = None, self._time.now + delay

    def write(self, record: JobFinished) -> None:
        """Write a record unless there is one, and announce it."""
        name = key(record.tenant, record.job)
        if name in self.records:
            return
        self.records[name] = record
        self.send(record)

    def send(self, event: Event) -> None:
        """Announce to the scheduler, or lose it, be late, or say it twice."""
        if self._rng.random() < self.faults.lost:
            return
        times = 2 if self._rng.random() < self.faults.doubled else 1
        for _ in range(times):
            late = self._rng.random() < self.faults.late
            delay = self._rng.uniform(0.5, 8.0) if late else self._rng.uniform(0.001, 0.01)
            self._time.after(delay, lambda: self.hear(event))
