"""The bus over NATS JetStream."""

import math
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio.lowlevel
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from shared.bus import blobs, lease, provision
from shared.bus.api import (
    CALL_SECONDS,
    NOT_FOUND,
    WRONG_LAST_SEQUENCE,
    Api,
    ConsumerState,
    Refused,
    Reply,
)
from shared.bus.connection import NO_RESPONDERS, STATUS, BusSettings, Connection
from shared.bus.port import (
    Bus,
    Entry,
    Headers,
    Inbound,
    Lease,
    Puller,
    Receipt,
    Stored,
    Subscription,
)
from shared.bus.pull import JetStreamPuller
from shared.bus.topology import TOPOLOGY, Topology
from shared.bus.watch import Watch
from shared.contracts import subjects
from shared.contracts.errors import (
    BusUnavailable,
    DeadlineExceeded,
    NoWorker,
    QueueFull,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import BlobRef

MESSAGE_ID, TTL = "Nats-Msg-Id", "Nats-TTL"
EXPECTED_REVISION = "Nats-Expected-Last-Subject-Sequence"
OPERATION, DELETED = "KV-Operation", ("DEL", "PURGE")
GONE = (10037, 10043, 10057)  # no message found, sequence not found
KEY = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*")
BUCKET_LIMIT = 100_000  # keys read from a bucket
FAST_LIST_SECONDS, LIST_SECONDS = 1.0, 10.0  # how often a watch looks for expired and lost keys


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


class JetStreamBus:
    """See port.Bus."""

    def __init__(self, connection: Connection, topology: Topology) -> None:
        self.name = connection.name
        self._connection = connection
        self._api = Api(connection)
        self._topology = topology

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

    async def publish_once(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str,
        headers: Headers | None = None,
        timeout: float = 10.0,
    ) -> Receipt:
        """Store under an id."""
        try:
            return await self._store(subject, data, headers or {}, message_id, timeout)
        except Refused as error:
            raise BusUnavailable(str(error)) from None

    async def _store(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str],
        message_id: str = "",
        timeout: float = CALL_SECONDS,
    ) -> Receipt:
        """Without an id the message gets its own: a retry then cannot meet itself as a rival."""
        identified = {**headers, MESSAGE_ID: message_id or uuid.uuid4().hex}
        return await self._api.store(subject, data, identified, timeout=timeout)

    def puller(self, stream: Stream, consumer: str) -> Puller:
        """The puller of a consumer."""
        return JetStreamPuller(self._connection, stream, consumer)

    async def ensure_consumer(self, worker_class: str, *, workers: int = 1) -> str:
        """The EL_RUN consumer of a class."""
        plan = self._topology.of_class(worker_class, workers)
        await provision.ensure_consumer(self._api, plan)
        return plan.name

    async def write_result(self, subject: str, data: bytes) -> bool:
        """Write once. A full stream and a written subject give the same refusal, so it is read."""
        message_id = uuid.uuid4().hex
        try:
            await self._store(subject, data, {}, message_id)
            return True
        except QueueFull:
            stored = await self.last(Stream.RESULTS, subject)
            if stored is None:
                raise
            return stored.headers.get(MESSAGE_ID) == message_id
        except Refused as error:
            raise BusUnavailable(str(error)) from None

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The newest message of a subject."""
        return await self._api.last(stream, subject)

    async def history(self, stream: Stream, subject: str, *, limit: int = 1000) -> list[Stored]:
        """Messages of a filter, oldest first."""
        return await self._api.matching(stream, subject, limit=limit)

    async def message(self, stream: Stream, sequence: int) -> Stored | None:
        """A message by sequence."""
        return await self._api.at(stream, sequence)

    async def delete(self, stream: Stream, sequence: int) -> bool:
        """Remove a message."""
        try:
            await self._api.call(
                f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True}, Reply
            )
        except Refused as error:
            if error.refusal.code == NOT_FOUND or error.refusal.err_code in GONE:
                return False
            raise BusUnavailable(str(error)) from None
        return True

    async def pending(self, stream: Stream, consumer: str) -> int:
        """What a consumer still has to do."""
        try:
            state = await self._api.call(f"CONSUMER.INFO.{stream}.{consumer}", {}, ConsumerState)
        except Refused as error:
            raise BusUnavailable(str(error)) from None
        return state.num_pending + state.num_ack_pending

    async def put_blob(self, data: bytes, *, keep: bool = False) -> BlobRef:
        """Store bytes in parts."""
        return await blobs.put(self, data, keep=keep)

    async def get_blob(self, ref: BlobRef) -> bytes:
        """Read and verify."""
        return await blobs.get(self, ref)

    async def delete_blob(self, ref: BlobRef) -> None:
        """Remove all parts."""
        await blobs.delete(self, ref)

    async def get(self, bucket: Bucket, key: str) -> Entry | None:
        """A live value."""
        stored = await self._api.last(f"KV_{bucket}", _key_subject(bucket, key))
        if stored is None or stored.headers.get(OPERATION) in DELETED:
            return None
        return Entry(key, stored.data, stored.sequence)

    async def put(self, bucket: Bucket, key: str, value: bytes) -> int:
        """Set a value."""
        try:
            return (await self._store(_key_subject(bucket, key), value, {})).sequence
        except Refused as error:
            raise BusUnavailable(str(error)) from None

    async def swap(
        self, bucket: Bucket, key: str, value: bytes, *, revision: int, ttl: float | None = None
    ) -> int | None:
        """Compare and swap; a deleted key counts as absent."""
        headers = {} if ttl is None else {TTL: str(max(math.ceil(ttl), 1))}
        subject = _key_subject(bucket, key)
        swapped = await self._swap(subject, value, headers, revision)
        if swapped is None and revision == 0:
            marker = await self._api.last(f"KV_{bucket}", subject)
            if marker is not None and marker.headers.get(OPERATION) in DELETED:
                return await self._swap(subject, value, headers, marker.sequence)
        return swapped

    async def _swap(
        self, subject: str, value: bytes, headers: Mapping[str, str], revision: int
    ) -> int | None:
        expected = {**headers, EXPECTED_REVISION: str(revision)}
        try:
            return (await self._store(subject, value, expected)).sequence
        except Refused as error:
            if error.refusal.err_code in WRONG_LAST_SEQUENCE:
                return None
            raise BusUnavailable(str(error)) from None

    async def remove(self, bucket: Bucket, key: str, *, revision: int | None = None) -> bool:
        """Put a deletion marker, which other clients of the bucket understand."""
        entry = await self.get(bucket, key)
        if entry is None or (revision is not None and entry.revision != revision):
            return False
        headers = {OPERATION: "DEL"}
        if self._topology.buckets[bucket].message_ttl:
            headers[TTL] = "1"
        marker = await self._swap(_key_subject(bucket, key), b"", headers, entry.revision)
        if marker is None and revision is None:
            return await self.remove(bucket, key)  # it changed meanwhile
        return marker is not None

    async def entries(self, bucket: Bucket) -> list[Entry]:
        """All live keys."""
        stored = await self._api.matching(f"KV_{bucket}", f"$KV.{bucket}.>", limit=BUCKET_LIMIT)
        found = {message.subject: message for message in stored}
        return [
            Entry(_key(bucket, message.subject), message.data, message.sequence)
            for message in found.values()
            if message.headers.get(OPERATION) not in DELETED
        ]

    @asynccontextmanager
    async def _watch(self, bucket: Bucket) -> AsyncIterator[AsyncIterator[Entry]]:
        plan = self._topology.buckets[bucket]
        expires = plan.message_ttl or (plan.max_age is not None and plan.max_age < 60.0)
        watch = Watch(
            lambda: self.entries(bucket), period=FAST_LIST_SECONDS if expires else LIST_SECONDS
        )

        def receive(message: Inbound) -> None:
            headers = message.headers or {}
            value = None if headers.get(OPERATION) in DELETED else message.data
            key = _key(bucket, headers["Nats-Subject"])
            watch.change(Entry(key, value, int(headers["Nats-Sequence"])))

        subscription = await self.subscribe(subjects.changes(bucket), receive)
        undo = self._connection.after_reconnect(watch.invalidate)
        try:
            yield watch
        finally:
            undo()
            await subscription.stop()

    def watch(self, bucket: Bucket) -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        """All live keys, then every change."""
        return self._watch(bucket)

    def lease(self, key: str, *, ttl: float = 2.0) -> AbstractAsyncContextManager[Lease]:
        """Hold a name alone."""
        return lease.hold(self, key, ttl=ttl)

    async def wait_closed(self) -> None:
        """Return when the connection is closed for good."""
        await self._connection.closed.wait()


def _key_subject(bucket: Bucket, key: str) -> str:
    if not KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is not a key: {KEY.pattern}")
    return f"$KV.{bucket}.{key}"


def _key(bucket: Bucket, subject: str) -> str:
    return subject[len(f"$KV.{bucket}.") :]


_: type[Bus] = JetStreamBus  # the type checker holds the class to the port
