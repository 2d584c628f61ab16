"""What both implementations share: everything that is made of storing and reading messages."""

import math
import re
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from shared.bus import blobs, lease
from shared.bus.port import Bus, Entry, Headers, Inbound, Lease, Receipt, Stored
from shared.bus.topology import Topology
from shared.bus.watch import Watch
from shared.contracts import subjects
from shared.contracts.errors import BusUnavailable, QueueFull
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import BlobRef

MESSAGE_ID, TTL = "Nats-Msg-Id", "Nats-TTL"
EXPECTED_REVISION = "Nats-Expected-Last-Subject-Sequence"
OPERATION, DELETED = "KV-Operation", ("DEL", "PURGE")
STORED_SUBJECT, STORED_SEQUENCE = "Nats-Subject", "Nats-Sequence"  # of a republished message
KEY = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*")
BUCKET_LIMIT = 100_000  # keys read from a bucket
CALL_SECONDS = 5.0  # an answer of the broker
FAST_LIST_SECONDS, LIST_SECONDS = 1.0, 10.0  # how often a watch looks for expired and lost keys


class Refused(Exception):
    """The broker answered with an error that no named class covers."""


class WrongRevision(Refused):
    """A subject is not at the expected sequence."""


class Engine(Protocol):
    """Streams, by name. Every call raises BusUnavailable when it is not answered in time."""

    async def store(
        self, subject: str, data: bytes, headers: Headers, *, timeout: float
    ) -> Receipt:
        """Publish until acknowledged, under the id in the headers.

        Raises:
            QueueFull, TooLarge, WrongRevision.
            Refused: any other reason.
        """
        ...

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The newest message of a subject."""
        ...

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """A message by sequence."""
        ...

    async def matching(self, stream: str, subject: str, *, limit: int) -> list[Stored]:
        """Messages whose subject matches a filter, oldest first."""
        ...

    async def delete(self, stream: str, sequence: int) -> bool:
        """Remove a message; False when it was gone. Raises Refused."""
        ...


class DurableBus(Bus):
    """The half of a port.Bus that needs nothing but an engine."""

    def __init__(self, name: str, engine: Engine, topology: Topology) -> None:
        self.name = name
        self._engine = engine
        self._topology = topology

    @abstractmethod
    def _after_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called after every reconnect; returns what undoes it."""

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
        headers: Headers,
        message_id: str = "",
        timeout: float = CALL_SECONDS,
    ) -> Receipt:
        """Without an id the message gets its own: a retry then cannot meet itself as a rival."""
        identified = {**headers, MESSAGE_ID: message_id or uuid.uuid4().hex}
        return await self._engine.store(subject, data, identified, timeout=timeout)

    async def write_result(self, subject: str, data: bytes) -> bool:
        """Write once. A full stream and a written subject give the same refusal, so it is read."""
        message_id = uuid.uuid4().hex
        try:
            await self.publish_once(subject, data, message_id=message_id)
        except QueueFull:
            stored = await self.last(Stream.RESULTS, subject)
            if stored is None:
                raise
            return stored.headers.get(MESSAGE_ID) == message_id
        return True

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The newest message of a subject."""
        return await self._engine.last(stream, subject)

    async def history(self, stream: Stream, subject: str, *, limit: int = 1000) -> list[Stored]:
        """Messages of a filter, oldest first."""
        return await self._engine.matching(stream, subject, limit=limit)

    async def message(self, stream: Stream, sequence: int) -> Stored | None:
        """A message by sequence."""
        return await self._engine.at(stream, sequence)

    async def delete(self, stream: Stream, sequence: int) -> bool:
        """Remove a message."""
        try:
            return await self._engine.delete(stream, sequence)
        except Refused as error:
            raise BusUnavailable(str(error)) from None

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
        stored = await self._engine.last(f"KV_{bucket}", _key_subject(bucket, key))
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
            marker = await self._engine.last(f"KV_{bucket}", subject)
            if marker is not None and marker.headers.get(OPERATION) in DELETED:
                return await self._swap(subject, value, headers, marker.sequence)
        return swapped

    async def _swap(
        self, subject: str, value: bytes, headers: Mapping[str, str], revision: int
    ) -> int | None:
        expected = {**headers, EXPECTED_REVISION: str(revision)}
        try:
            return (await self._store(subject, value, expected)).sequence
        except WrongRevision:
            return None
        except Refused as error:
            raise BusUnavailable(str(error)) from None

    async def remove(self, bucket: Bucket, key: str, *, revision: int | None = None) -> bool:
        """Put a deletion marker, which other clients of the bucket understand."""
        headers = {OPERATION: "DEL"}
        if self._topology.buckets[bucket].message_ttl:
            headers[TTL] = "1"
        while True:
            entry = await self.get(bucket, key)
            if entry is None or (revision is not None and entry.revision != revision):
                return False
            if await self._swap(_key_subject(bucket, key), b"", headers, entry.revision):
                return True  # else it changed meanwhile

    async def entries(self, bucket: Bucket) -> list[Entry]:
        """All live keys."""
        stored = await self._engine.matching(
            f"KV_{bucket}", f"{_prefix(bucket)}>", limit=BUCKET_LIMIT
        )
        newest = {message.subject: message for message in stored}
        return [
            Entry(message.subject[len(_prefix(bucket)) :], message.data, message.sequence)
            for message in newest.values()
            if message.headers.get(OPERATION) not in DELETED
        ]

    def watch(self, bucket: Bucket) -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        """All live keys, then every change."""
        return self._watch(bucket)

    @asynccontextmanager
    async def _watch(self, bucket: Bucket) -> AsyncIterator[AsyncIterator[Entry]]:
        """Over what the bucket republishes: a consumer of its own would go blind for 20 s when the
        server restarts, and a plain subscription would show refused puts."""
        plan = self._topology.buckets[bucket]
        expires = plan.message_ttl or (plan.max_age is not None and plan.max_age < 60.0)
        period = FAST_LIST_SECONDS if expires else LIST_SECONDS
        watch = Watch(lambda: self.entries(bucket), period=period)
        announced = subjects.changes(bucket)
        subscription = await self.subscribe(
            announced, lambda message: watch.change(_changed(bucket, message))
        )
        undo = self._after_reconnect(watch.invalidate)
        try:
            yield watch
        finally:
            undo()
            await subscription.stop()

    def lease(self, key: str, *, ttl: float = 2.0) -> AbstractAsyncContextManager[Lease]:
        """Hold a name alone."""
        return lease.hold(self, key, ttl=ttl)


def _prefix(bucket: Bucket) -> str:
    return f"$KV.{bucket}."


def _key_subject(bucket: Bucket, key: str) -> str:
    if not KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is not a key: {KEY.pattern}")
    return _prefix(bucket) + key


def _changed(bucket: Bucket, message: Inbound) -> Entry:
    """The entry that a bucket's announcement tells of."""
    headers = message.headers or {}
    value = None if headers.get(OPERATION) in DELETED else message.data
    key = headers[STORED_SUBJECT][len(_prefix(bucket)) :]
    return Entry(key, value, int(headers[STORED_SEQUENCE]))
