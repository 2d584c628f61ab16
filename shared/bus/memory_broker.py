"""The broker's side of the bus in memory: connections come and go, streams stay.

Time comes from `clock`; after moving an injected clock, call `wake`.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import structlog

from shared.bus.durable import STORED_SEQUENCE, STORED_SUBJECT, Refused
from shared.bus.port import Headers, Inbound, Receipt
from shared.bus.store import ConsumerStore, StreamStore, matches
from shared.bus.topology import TOPOLOGY, ConsumerPlan, Topology
from shared.contracts.errors import BusUnavailable, SuiteError

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Listener:
    """A core subscription; also the handle that ends it."""

    broker: "BrokerState"
    pattern: str
    queue: str
    handler: Callable[[Inbound], None]

    async def stop(self) -> None:
        """End it."""
        self.broker.listeners.pop(self, None)


@dataclass
class BrokerState:
    """Streams, consumers, listeners, and ways to make them fail. One event loop only."""

    topology: Topology = TOPOLOGY
    clock: Callable[[], float] = time.monotonic
    listeners: dict[Listener, None] = field(default_factory=dict)  # in order of arrival

    def __post_init__(self) -> None:
        self.streams = {plan.name: StreamStore(plan) for plan in self.topology.all_streams()}
        self.consumers: dict[tuple[str, str], ConsumerStore] = {}
        for plan in self.topology.consumers:
            self.ensure_consumer(plan)
        self.closed = anyio.Event()
        self.reconnected: set[Callable[[], None]] = set()
        self._changed = anyio.Event()
        self._away = False
        self._lost_acks = 0
        self._turn = itertools.count()
        self._held: list[Inbound] = []  # published while away

    # What a test does to it

    def wake(self) -> None:
        """Have every waiting call look again, after the clock was moved or something came."""
        self._changed.set()
        self._changed = anyio.Event()

    def disconnect(self) -> None:
        """Cut all connections: publishes wait, stored calls are not answered, messages are lost."""
        self._away = True

    def reconnect(self) -> None:
        """Let them come back."""
        self._away = False
        held, self._held = self._held, []
        for message in held:
            self.publish(message)
        for call in tuple(self.reconnected):
            call()
        self.wake()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """A broken connection for the length of a block."""
        self.disconnect()
        try:
            yield
        finally:
            self.reconnect()

    def restart(self) -> None:
        """Kill and restart the server: what was in memory is gone, what was stored is not."""
        for stream in self.streams.values():
            stream.restart(self.clock())
        for consumer in self.consumers.values():
            consumer.restart()
        self.reconnect()

    def lose_acks(self, count: int) -> None:
        """Store the next messages without acknowledging them: the client asks again."""
        self._lost_acks = count

    def close(self) -> None:
        """End every connection for good."""
        self.closed.set()
        self.wake()

    # What connections do with it

    async def up(self, timeout: float, what: str) -> None:
        """Wait for the connection. Raises BusUnavailable after `timeout` seconds or when closed."""
        with anyio.move_on_after(timeout):
            await anyio.lowlevel.checkpoint()
            while self._away and not self.closed.is_set():
                await self._changed.wait()
        if self._away or self.closed.is_set():
            raise BusUnavailable(f"{what}: no connection within {timeout:.1f} s")

    async def change(self, due: float) -> None:
        """Wait until something changed, or until the clock may have reached `due`."""
        with anyio.move_on_after(max(due - self.clock(), 0.0)):
            await self._changed.wait()

    @property
    def away(self) -> bool:
        """Whether connections are cut."""
        return self._away

    def ensure_consumer(self, plan: ConsumerPlan) -> None:
        """Make or update a consumer."""
        key = (plan.stream, plan.name)
        if key in self.consumers:
            self.consumers[key].plan = plan
        else:
            self.consumers[key] = ConsumerStore(plan, self.streams[plan.stream])

    def hears(self, subject: str) -> bool:
        """Whether anybody, or a stream, takes a subject."""
        if any(matches(each.pattern, subject) for each in self.listeners):
            return True
        return any(stream.takes(subject) for stream in self.streams.values())

    def publish(self, message: Inbound) -> None:
        """Core publish: to listeners, and into a stream that has the subject, silently."""
        if self.closed.is_set():
            raise BusUnavailable(f"{message.subject}: closed for good")
        if self._away:
            self._held.append(message)
            return
        self._announce(message)
        if any(stream.takes(message.subject) for stream in self.streams.values()):
            try:
                self._append(message.subject, message.data, message.headers or {})
            except (SuiteError, Refused) as refusal:
                log.debug("bus.refused", subject=message.subject, error=str(refusal))

    def store(self, subject: str, data: bytes, headers: Headers) -> Receipt:
        """Publish with an acknowledgement.

        Raises:
            QueueFull, TooLarge, WrongRevision, Refused.
            BusUnavailable: no stream takes the subject.
        """
        self._announce(Inbound(subject, data, headers=headers))
        receipt = self._append(subject, data, headers)
        if self._lost_acks:  # the client asks again under the same id
            self._lost_acks -= 1
            return self._append(subject, data, headers)
        return receipt

    def _append(self, subject: str, data: bytes, headers: Headers) -> Receipt:
        stream = next((each for each in self.streams.values() if each.takes(subject)), None)
        if stream is None:
            raise BusUnavailable(f"{subject} was not answered: nothing listens there")
        receipt = stream.append(subject, data, headers, self.clock())
        if stream.plan.republish is not None and not receipt.duplicate:
            place = {STORED_SUBJECT: subject, STORED_SEQUENCE: str(receipt.sequence)}
            target = _transform(subject, *stream.plan.republish)
            self._announce(Inbound(target, data, headers={**headers, **place}))
        self.wake()
        return receipt

    def _announce(self, message: Inbound) -> None:
        """To every plain listener, and to one of each queue group, in turn."""
        groups: dict[tuple[str, str], list[Listener]] = {}
        for listener in self.listeners:
            if not matches(listener.pattern, message.subject):
                continue
            if listener.queue:
                groups.setdefault((listener.pattern, listener.queue), []).append(listener)
            else:
                self._hand(listener, message)
        for members in groups.values():
            self._hand(members[next(self._turn) % len(members)], message)

    def _hand(self, listener: Listener, message: Inbound) -> None:
        """Call a handler in the loop's next turn, as a network would."""

        def call() -> None:
            if listener in self.listeners and not self._away:
                listener.handler(message)

        asyncio.get_running_loop().call_soon(call)

    def give_up(self, consumer: ConsumerStore, sequences: list[int]) -> None:
        """Advise of messages that were delivered as often as allowed."""
        for sequence in sequences:
            attempts = consumer.in_hand[sequence].attempts
            self._advise("MAX_DELIVERIES", consumer.plan, sequence, {"deliveries": attempts})

    def terminate(self, consumer: ConsumerStore, sequence: int, reason: str) -> None:
        """Drop a message and advise why."""
        state = consumer.in_hand.get(sequence)
        attempts = state.attempts if state else 0
        facts: dict[str, str | int] = {"deliveries": attempts, "reason": reason}
        consumer.finish(sequence)
        self._advise("MSG_TERMINATED", consumer.plan, sequence, facts)

    def _advise(
        self, what: str, plan: ConsumerPlan, sequence: int, facts: dict[str, str | int]
    ) -> None:
        subject = f"$JS.EVENT.ADVISORY.CONSUMER.{what}.{plan.stream}.{plan.name}"
        place = {"stream": plan.stream, "consumer": plan.name, "stream_seq": sequence}
        self.publish(Inbound(subject, json.dumps({**place, **facts}).encode()))


def _transform(subject: str, source: str, target: str) -> str:
    """Where a stored subject is announced: both patterns end in `>`."""
    return target[:-1] + subject[len(source) - 1 :]
