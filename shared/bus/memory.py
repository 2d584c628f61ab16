"""The bus in one process, for tests: the same semantics and the same ways to fail."""

import itertools
from collections.abc import Callable

import anyio
import anyio.lowlevel

from shared.bus.durable import CALL_SECONDS, DurableBus
from shared.bus.memory_broker import BrokerState, Listener
from shared.bus.port import Delivery, Headers, Inbound, Puller, Receipt, Stored, Subscription
from shared.bus.store import ConsumerStore
from shared.contracts.errors import BusUnavailable, DeadlineExceeded, NoWorker, TooLarge
from shared.contracts.subjects import Stream

MAX_MESSAGE = 8 * 2**20 - 64 * 2**10  # [bytes] with headers, as the server of ops/nats takes
INBOX = "_INBOX."


class MemoryBroker(BrokerState):
    """A broker to connect to; what a test may do to it is in BrokerState."""

    def connect(self, name: str) -> "MemoryBus":
        """A connection."""
        return MemoryBus(self, name)


class MemoryEngine:
    """See durable.Engine."""

    def __init__(self, broker: BrokerState) -> None:
        self._broker = broker

    async def store(
        self, subject: str, data: bytes, headers: Headers, *, timeout: float
    ) -> Receipt:
        """Publish until acknowledged."""
        check_size(subject, data, headers)
        await self._broker.up(timeout, subject)
        return self._broker.store(subject, data, headers)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The newest message of a subject."""
        await self._broker.up(CALL_SECONDS, subject)
        return self._broker.streams[stream].last(subject, self._broker.clock())

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """A message by sequence."""
        await self._broker.up(CALL_SECONDS, stream)
        return self._broker.streams[stream].at(sequence, self._broker.clock())

    async def matching(self, stream: str, subject: str, *, limit: int) -> list[Stored]:
        """Messages of a filter."""
        await self._broker.up(CALL_SECONDS, subject)
        found = self._broker.streams[stream].matching(subject, self._broker.clock())
        return list(itertools.islice(found, limit))

    async def delete(self, stream: str, sequence: int) -> bool:
        """Remove a message."""
        await self._broker.up(CALL_SECONDS, stream)
        return self._broker.streams[stream].delete(sequence)


class MemoryBus(DurableBus):
    """See port.Bus."""

    def __init__(self, broker: BrokerState, name: str) -> None:
        super().__init__(name, MemoryEngine(broker), broker.topology)
        self._broker = broker
        self._count = itertools.count()

    async def publish(self, subject: str, data: bytes, headers: Headers | None = None) -> None:
        """Core publish."""
        check_size(subject, data, headers or {})
        self._broker.publish(Inbound(subject, data, headers=headers))
        await anyio.lowlevel.checkpoint()

    async def request(self, subject: str, data: bytes, *, timeout: float) -> bytes:
        """Core request."""
        check_size(subject, data, {})
        if not self._broker.away and not self._broker.hears(subject):
            raise NoWorker(f"nobody listens on {subject}")
        replies: list[bytes] = []
        heard = anyio.Event()

        def receive(message: Inbound) -> None:
            replies.append(message.data)
            heard.set()

        inbox = f"{INBOX}{self.name}.{id(self):x}.{next(self._count)}"
        listener = self._listen(inbox, receive, "")
        try:
            self._broker.publish(Inbound(subject, data, inbox))
            with anyio.move_on_after(timeout):
                await heard.wait()
        finally:
            await listener.stop()
        if not replies:
            raise DeadlineExceeded(f"{subject} did not answer within {timeout:.3f} s")
        return replies[0]

    async def subscribe(
        self, subject: str, handler: Callable[[Inbound], None], *, queue: str = ""
    ) -> Subscription:
        """Core subscription."""
        await anyio.lowlevel.checkpoint()
        return self._listen(subject, handler, queue)

    def _listen(self, subject: str, handler: Callable[[Inbound], None], queue: str) -> Listener:
        if not subject or any(not token or " " in token for token in subject.split(".")):
            raise ValueError(f"{subject!r} is not a subject")
        listener = Listener(self._broker, subject, queue, handler)
        self._broker.listeners[listener] = None
        return listener

    def puller(self, stream: Stream, consumer: str) -> Puller:
        """The puller of a consumer."""
        return MemoryPuller(self._broker, stream, consumer)

    async def ensure_consumer(self, worker_class: str, *, workers: int = 1) -> str:
        """The EL_RUN consumer of a class."""
        await self._broker.up(CALL_SECONDS, worker_class)
        plan = self._topology.of_class(worker_class, workers)
        self._broker.ensure_consumer(plan)
        return plan.name

    async def pending(self, stream: Stream, consumer: str) -> int:
        """What a consumer still has to do."""
        await self._broker.up(CALL_SECONDS, consumer)
        store = self._broker.consumers.get((stream, consumer))
        if store is None:
            raise BusUnavailable(f"{stream} has no consumer {consumer}")
        return store.pending(self._broker.clock())

    async def wait_closed(self) -> None:
        """Return when the connection is closed for good."""
        await self._broker.closed.wait()

    def _after_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        self._broker.reconnected.add(call)
        return lambda: self._broker.reconnected.discard(call)


class MemoryPuller:
    """See port.Puller."""

    def __init__(self, broker: BrokerState, stream: str, consumer: str) -> None:
        self._broker = broker
        self._key = (stream, consumer)

    async def pull(self, count: int, *, wait: float) -> list[Delivery]:
        """Up to `count` messages."""
        broker = self._broker
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(wait) as scope:
            while True:
                if broker.closed.is_set():
                    raise BusUnavailable(f"pull on {self._key}: closed for good")
                consumer = broker.consumers.get(self._key)
                if consumer is not None and not broker.away:
                    taken, given_up = consumer.take(count, broker.clock())
                    broker.give_up(consumer, given_up)
                    if taken:
                        return [MemoryDelivery(broker, consumer, *each) for each in taken]
                due = consumer.next_due() if consumer is not None else float("inf")
                await broker.change(due)
        if scope.cancelled_caught and self._key not in broker.consumers:
            raise BusUnavailable(f"{self._key[0]} has no consumer {self._key[1]}")
        return []


class MemoryDelivery:
    """See port.Delivery."""

    def __init__(
        self, broker: BrokerState, consumer: ConsumerStore, stored: Stored, attempts: int
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self.subject = stored.subject
        self.data = stored.data
        self.headers = stored.headers
        self.sequence = stored.sequence
        self.attempts = attempts

    async def ack(self) -> None:
        """Finished."""
        await self._up()
        self._consumer.finish(self.sequence)
        self._broker.wake()

    async def nak(self, *, delay: float = 0.0) -> None:
        """Give back."""
        await self._up()
        self._consumer.postpone(self.sequence, self._broker.clock() + delay)
        self._broker.wake()

    async def term(self, reason: str) -> None:
        """Never again."""
        await self._up()
        self._broker.terminate(self._consumer, self.sequence, reason)

    async def in_progress(self) -> None:
        """Start the ack wait anew; lost when the connection is."""
        await anyio.lowlevel.checkpoint()
        if not self._broker.away:
            due = self._broker.clock() + self._consumer.plan.ack_wait
            self._consumer.postpone(self.sequence, due)

    async def _up(self) -> None:
        await self._broker.up(CALL_SECONDS, self.subject)
        if not self._consumer.knows(self.sequence):
            raise BusUnavailable(f"message {self.sequence}: delivered before the broker's crash")


def check_size(subject: str, data: bytes, headers: Headers) -> None:
    """Raise TooLarge for a message that the server would not take."""
    size = len(data) + sum(len(key) + len(value) + 4 for key, value in headers.items())
    if size > MAX_MESSAGE:
        raise TooLarge(f"{size} bytes for {subject}, {MAX_MESSAGE} fit in one message")
