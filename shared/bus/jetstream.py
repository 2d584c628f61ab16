"""The bus over NATS JetStream."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.lowlevel
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from shared.bus import provision
from shared.bus.api import Api, ConsumerState
from shared.bus.connection import NO_RESPONDERS, STATUS, BusSettings, Connection
from shared.bus.durable import CALL_SECONDS, DurableBus, Refused
from shared.bus.port import Headers, Inbound, Puller, Subscription
from shared.bus.pull import JetStreamPuller
from shared.bus.topology import TOPOLOGY, Topology
from shared.contracts.errors import BusUnavailable, DeadlineExceeded, NoWorker
from shared.contracts.subjects import Stream


@asynccontextmanager
async def connect(
    settings: BusSettings, *, topology: Topology = TOPOLOGY
) -> AsyncIterator["JetStreamBus"]:
    """A connection for the length of a block, to a server that holds the topology.

    Raises:
        BusUnavailable: no server within 10 s, or it refuses the topology.
    """
    connection = Connection(settings.name)
    await connection.open(settings.url)
    try:
        bus = JetStreamBus(connection, topology)
        await bus.provision()
        connection.restore = bus.provision  # what was in memory is gone after a server's restart
        yield bus
    finally:
        await connection.close()


class _Subscription:
    """See port.Subscription."""

    def __init__(self, connection: Connection, subscription: ClientSubscription) -> None:
        self._connection = connection
        self._subscription = subscription

    async def stop(self) -> None:
        """End it."""
        await self._connection.unsubscribe(self._subscription)


class JetStreamBus(DurableBus):
    """See port.Bus."""

    def __init__(self, connection: Connection, topology: Topology) -> None:
        self._api = Api(connection)
        super().__init__(connection.name, self._api, topology)
        self._connection = connection

    async def provision(self) -> None:
        """Make what the topology names."""
        await provision.ensure(self._api, self._topology)

    async def publish(self, subject: str, data: bytes, headers: Headers | None = None) -> None:
        """Core publish."""
        await self._connection.publish(subject, data, headers)
        await anyio.lowlevel.checkpoint()

    async def request(self, subject: str, data: bytes, *, timeout: float) -> bytes:
        """Core request."""
        try:
            reply = await self._connection.ask(subject, data, timeout=timeout)
        except TimeoutError:
            raise DeadlineExceeded(f"{subject} did not answer within {timeout:.3f} s") from None
        if reply.headers and reply.headers.get(STATUS) == NO_RESPONDERS:
            raise NoWorker(f"nobody listens on {subject}")
        return reply.data

    async def subscribe(
        self, subject: str, handler: Callable[[Inbound], None], *, queue: str = ""
    ) -> Subscription:
        """Core subscription; the server knows it when this returns."""

        def receive(message: Msg) -> None:
            handler(Inbound(message.subject, message.data, message.reply, message.headers))

        subscription = await self._connection.subscribe(subject, receive, queue=queue)
        await self._connection.settle(CALL_SECONDS)
        return _Subscription(self._connection, subscription)

    def puller(self, stream: Stream, consumer: str) -> Puller:
        """The puller of a consumer."""
        return JetStreamPuller(self._connection, stream, consumer)

    async def ensure_consumer(self, worker_class: str, *, workers: int = 1) -> str:
        """The EL_RUN consumer of a class."""
        plan = self._topology.of_class(worker_class, workers)
        await provision.ensure_consumer(self._api, plan)
        return plan.name

    async def pending(self, stream: Stream, consumer: str) -> int:
        """What a consumer still has to do."""
        try:
            state = await self._api.call(f"CONSUMER.INFO.{stream}.{consumer}", {}, ConsumerState)
        except Refused as error:
            raise BusUnavailable(str(error)) from None
        return state.num_pending + state.num_ack_pending

    async def wait_closed(self) -> None:
        """Return when the connection is closed for good."""
        await self._connection.closed.wait()

    def _after_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        return self._connection.after_reconnect(call)
