"""Streams and consumers in memory, as plain state: no waiting, time comes in as `now` [s].

The rules are those of JetStream that the suite relies on, failure modes included.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shared.bus.durable import EXPECTED_REVISION, MESSAGE_ID, TTL, Refused, WrongRevision
from shared.bus.port import Receipt, Stored
from shared.bus.topology import ConsumerPlan, StreamPlan
from shared.contracts.errors import QueueFull, TooLarge


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject fits a filter with `*` (one token) and `>` (the rest, at least one)."""
    if pattern == subject:
        return True
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in ("*", given[place]):
            return False
    return len(wanted) == len(given)


@dataclass(frozen=True, slots=True)
class Record:
    """One stored message."""

    stored: Stored
    expires_at: float

    @property
    def size(self) -> int:
        """What it counts against the stream's bytes."""
        return len(self.stored.subject) + len(self.stored.data)


class StreamStore:
    """One stream under its plan's limits."""

    def __init__(self, plan: StreamPlan) -> None:
        self.plan = plan
        self._records: dict[int, Record] = {}  # by sequence, oldest first
        self._newest: dict[str, list[int]] = {}  # subject -> its sequences, oldest first
        self._ids: dict[str, tuple[int, float]] = {}  # message id -> sequence, forgotten at
        self._bytes = 0
        self._sequence = 0

    def takes(self, subject: str) -> bool:
        """Whether messages on a subject are stored here."""
        return any(matches(pattern, subject) for pattern in self.plan.subjects)

    def append(self, subject: str, data: bytes, headers: Mapping[str, str], now: float) -> Receipt:
        """Store a message, or say why not.

        Raises:
            QueueFull, TooLarge, WrongRevision, Refused.
        """
        self.expire(now)
        if self.plan.max_message is not None and len(data) > self.plan.max_message:
            raise TooLarge(f"{len(data)} bytes for {subject}, {self.plan.max_message} are allowed")
        known = self._ids.get(headers.get(MESSAGE_ID, ""))
        if known is not None:
            return Receipt(known[0], duplicate=True)
        self._check_revision(subject, headers)
        expires_at = self._expiry(headers, now)
        self._make_room(subject, len(subject) + len(data))
        self._sequence += 1
        stored = Stored(subject, data, self._sequence, dict(headers))
        self._insert(Record(stored, expires_at), now)
        return Receipt(self._sequence)

    def last(self, subject: str, now: float) -> Stored | None:
        """The newest message of a subject."""
        self.expire(now)
        sequences = self._newest.get(subject)
        return self._records[sequences[-1]].stored if sequences else None

    def at(self, sequence: int, now: float) -> Stored | None:
        """A message by sequence."""
        self.expire(now)
        record = self._records.get(sequence)
        return record.stored if record else None

    def matching(self, pattern: str, now: float) -> Iterator[Stored]:
        """Messages that fit a filter, oldest first."""
        self.expire(now)
        return (
            each.stored for each in self._records.values() if matches(pattern, each.stored.subject)
        )

    def delete(self, sequence: int) -> bool:
        """Remove a message; False when it was gone."""
        record = self._records.pop(sequence, None)
        if record is None:
            return False
        self._bytes -= record.size
        sequences = self._newest[record.stored.subject]
        sequences.remove(sequence)
        if not sequences:
            del self._newest[record.stored.subject]
        return True

    def expire(self, now: float) -> None:
        """Drop what is over its age, and forget old message ids."""
        for sequence in [s for s, each in self._records.items() if each.expires_at <= now]:
            self.delete(sequence)
        for message_id in [each for each, (_, until) in self._ids.items() if until <= now]:
            del self._ids[message_id]

    def restart(self, now: float) -> None:
        """What a restart of the server does: memory is empty, ids are known of stored messages."""
        if self.plan.memory:
            for sequence in list(self._records):
                self.delete(sequence)
            self._sequence = 0
        self._ids.clear()
        for record in self._records.values():
            self._remember(record.stored, now)

    def _insert(self, record: Record, now: float) -> None:
        stored = record.stored
        self._records[stored.sequence] = record
        self._newest.setdefault(stored.subject, []).append(stored.sequence)
        self._bytes += record.size
        self._remember(stored, now)

    def _remember(self, stored: Stored, now: float) -> None:
        message_id = stored.headers.get(MESSAGE_ID)
        if message_id:
            self._ids[message_id] = (stored.sequence, now + self.plan.dedup)

    def _check_revision(self, subject: str, headers: Mapping[str, str]) -> None:
        expected = headers.get(EXPECTED_REVISION)
        actual = self._newest.get(subject, [0])[-1]
        if expected is not None and int(expected) != actual:
            raise WrongRevision(f"{subject}: wrong last sequence: {actual}")

    def _expiry(self, headers: Mapping[str, str], now: float) -> float:
        age = self.plan.max_age or math.inf
        if TTL in headers:
            if not self.plan.message_ttl:
                raise Refused(f"{self.plan.name}: per-message TTL is disabled")
            age = float(headers[TTL])
        return now + age

    def _make_room(self, subject: str, size: int) -> None:
        """Drop the oldest or refuse, first for the subject, then for the stream."""
        plan, own = self.plan, self._newest.get(subject, [])
        replaced = 0
        if plan.max_per_subject is not None and len(own) >= plan.max_per_subject:
            if plan.refuse_subject_when_full:
                raise QueueFull(f"{subject}: maximum messages per subject exceeded")
            replaced = own[0]
        freed = self._records[replaced].size if replaced else 0
        if plan.refuse_when_full:
            self._refuse_over(len(self._records) + 1 - bool(replaced), self._bytes + size - freed)
        if replaced:
            self.delete(replaced)
        while self._records and self._is_over(len(self._records) + 1, self._bytes + size):
            self.delete(next(iter(self._records)))

    def _is_over(self, messages: int, size: int) -> bool:
        too_many = self.plan.max_messages is not None and messages > self.plan.max_messages
        return too_many or size > self.plan.max_bytes

    def _refuse_over(self, messages: int, size: int) -> None:
        if self._is_over(messages, size):
            what = "bytes" if size > self.plan.max_bytes else "messages"
            raise QueueFull(f"{self.plan.name}: maximum {what} exceeded")


@dataclass(slots=True)
class InHand:
    """A delivered message that is not acknowledged."""

    attempts: int
    due: float  # comes again at [s]
    given_up: bool = False  # delivered as often as allowed


@dataclass(slots=True)
class ConsumerStore:
    """A durable consumer of one stream."""

    plan: ConsumerPlan
    stream: StreamStore
    in_hand: dict[int, InHand] = field(default_factory=dict)  # by sequence
    cursor: int = 0  # everything up to this sequence was delivered once

    def take(self, count: int, now: float) -> tuple[list[tuple[Stored, int]], list[int]]:
        """Deliver: messages with their attempts, and the sequences given up just now."""
        given_up = self._give_up(now)
        taken: list[tuple[Stored, int]] = []
        for sequence, state in sorted(self.in_hand.items()):
            if len(taken) < count and not state.given_up and state.due <= now:
                self._deliver(sequence, state.attempts + 1, now, taken)
        for stored in list(self.stream.matching(self.plan.filter, now)):
            if len(taken) >= count or self._active() >= self.plan.max_ack_pending:
                break
            if stored.sequence > self.cursor:
                self.cursor = stored.sequence
                self._deliver(stored.sequence, 1, now, taken)
        return taken, given_up

    def finish(self, sequence: int) -> None:
        """Acknowledged or terminated; without effect when it was before."""
        self.in_hand.pop(sequence, None)
        if self.stream.plan.work_queue:
            self.stream.delete(sequence)

    def postpone(self, sequence: int, due: float) -> None:
        """Let a message come again at `due`."""
        if sequence in self.in_hand:
            self.in_hand[sequence].due = due

    def restart(self) -> None:
        """What a crash of the server does: deliveries that were not on the disk are forgotten."""
        self.in_hand.clear()
        self.cursor = 0

    def knows(self, sequence: int) -> bool:
        """Whether a delivery can be acknowledged; one from before a crash cannot."""
        return sequence <= self.cursor

    def next_due(self) -> float:
        """When the next message comes again [s]; infinity for never."""
        return min((s.due for s in self.in_hand.values() if not s.given_up), default=math.inf)

    def pending(self, now: float) -> int:
        """Messages waiting and in hand."""
        waiting = sum(
            each.sequence > self.cursor for each in self.stream.matching(self.plan.filter, now)
        )
        return waiting + self._active()

    def _active(self) -> int:
        return sum(not state.given_up for state in self.in_hand.values())

    def _deliver(
        self, sequence: int, attempts: int, now: float, taken: list[tuple[Stored, int]]
    ) -> None:
        stored = self.stream.at(sequence, now)
        if stored is None:
            del self.in_hand[sequence]  # deleted or expired meanwhile
            return
        self.in_hand[sequence] = InHand(attempts, now + self.plan.ack_wait)
        taken.append((stored, attempts))

    def _give_up(self, now: float) -> list[int]:
        """Noticed only when somebody pulls, as in the server."""
        over: list[int] = []
        for sequence, state in self.in_hand.items():
            limit = self.plan.max_deliver or math.inf
            if not state.given_up and state.due <= now and state.attempts >= limit:
                state.given_up = True
                over.append(sequence)
        return over
