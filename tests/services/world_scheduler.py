"""The scheduler of a simulated world: the real machine, and a driver that may die at any await."""

import random
from collections.abc import Callable, Iterable

from services.scheduler.events import (
    Arrival,
    Backlog,
    Ended,
    Event,
    Found,
    Looked,
    Placed,
    Tick,
    Unperformed,
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
from shared.contracts.v1.jobs import JobFinished
from shared.contracts.v1.workers import WorkerCard
from tests.services.world_broker import ACK_WAIT, Broker, Message
from tests.services.world_time import Act, Timeline

TICK = 0.2  # [s]


class Scheduler:
    """One process after another; what a dead one had begun is not finished."""

    def __init__(self, time: Timeline, rng: random.Random, broker: Broker, policy: Policy) -> None:
        self.machine = Machine(policy)
        self._policy = policy
        self._time, self._rng, self._broker = time, rng, broker
        self._session = 0
        broker.hear = lambda event: self._feed(event, self._session)

    def restart(self, cards: Iterable[WorkerCard]) -> None:
        """A new process knows what buckets and streams hold, and nothing else."""
        self._session += 1
        self.machine = Machine(self._policy)
        for message in self._broker.intake.values():
            if message.holder is not None:
                self._broker.come_again(message, ACK_WAIT)
        session = self._session
        for card in cards:
            self._feed(card, session)
        for left in list(self._broker.run.values()):
            found = Found(left.sequence, left.worker_class, left.attempt, left.job, left.frame)
            self._feed(found, session)
        self._tick(session)

    def _feed(self, event: Event, session: int) -> None:
        if session != self._session:
            return
        for instruction in self.machine.handle(event, self._time.now):
            delay = self._rng.uniform(0.001, 0.02)
            self._time.after(delay, self._performed(instruction, session))

    def _tick(self, session: int) -> None:
        if session != self._session:
            return
        self._feed(Tick(), session)
        idle = [message for message in self._broker.intake.values() if message.holder is None]
        self._feed(Backlog(len(idle)), session)  # returned ones count: they wait as well
        ready = [message for message in idle if message.visible <= self._time.now]
        for message in ready[: self.machine.room]:
            message.holder = session
            self._time.after(self._rng.uniform(0.001, 0.01), self._arriving(message, session))
        self._time.after(TICK, lambda: self._tick(session))

    def _arriving(self, message: Message, session: int) -> Act:
        def read() -> None:
            record = self._broker.records.get(message.key)
            arrival = Arrival(message.sequence, message.job, message.frame, record=record)
            self._time.after(self._rng.uniform(0.0, 0.01), lambda: self._feed(arrival, session))

        return read

    def _performed(self, instruction: Instruction, session: int) -> Act:
        def perform() -> None:
            if session != self._session:
                return
            if self._rng.random() < self._broker.faults.refused:
                self._refused(instruction, session)
                return
            for delay, act in self._steps(instruction, session):
                self._time.after(delay, act)

        return perform

    def _refused(self, instruction: Instruction, session: int) -> None:
        intake = self._broker.intake
        match instruction:  # no longer kept in hand, so the broker delivers it again
            case Acknowledge(delivery) | Return(delivery) if delivery in intake:
                self._broker.come_again(intake[delivery], ACK_WAIT)
        self._feed(Unperformed(instruction, "the broker is away"), session)

    def _steps(self, instruction: Instruction, session: int) -> list[tuple[float, Act]]:
        """The acts of one instruction; the scheduler may die between any two of them."""
        pause = self._rng.uniform(0.0, 0.01)
        broker = self._broker

        def mine(act: Callable[[], None]) -> Act:
            return lambda: act() if session == self._session else None

        def tell(event: Event) -> tuple[float, Act]:
            return 2 * pause, lambda: self._feed(event, session)

        match instruction:
            case Place() as asked:
                placed = Placed(key(asked.tenant, asked.job), asked.attempt, broker.place(asked))
                settle = mine(lambda: broker.settle(asked.delivery, asked.replaces))
                return [(pause, settle), tell(placed)]
            case Finish() as asked:
                broker.write(record_of(asked))
                broker.letters.extend([asked.letter] if asked.letter else [])
                settle = mine(lambda: broker.settle(asked.delivery, asked.queued))
                return [(pause, settle), tell(Ended(key(asked.tenant, asked.job)))]
            case Look() as asked:
                name = key(asked.tenant, asked.job)
                queued = asked.sequence in broker.run
                return [tell(Looked(name, asked.attempt, broker.records.get(name), queued))]
            case _:
                return [(0.0, lambda: self._simple(instruction))]

    def _simple(self, instruction: Instruction) -> None:
        broker = self._broker
        match instruction:
            case Acknowledge(delivery):
                broker.settle(delivery, None)
            case Return(delivery, delay) if delivery in broker.intake:
                broker.come_again(broker.intake[delivery], delay)
            case Discard(sequence):
                broker.settle(None, sequence)
            case DeadLetter() as letter:
                broker.letters.append(letter)
                broker.settle(letter.delivery, None)
            case _:
                pass


def record_of(asked: Finish) -> JobFinished:
    """The record that a Finish writes."""
    return JobFinished(
        job=asked.job,
        tenant=asked.tenant,
        kind=asked.kind,
        status=asked.status,
        digest=asked.digest,
        failure=asked.failure,
    )
