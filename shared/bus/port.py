"""What the suite needs of a message bus: publish, request, pull, results, blobs, buckets, leases.

Two implementations answer one test suite: `jetstream` (NATS) and `memory` (its twin for tests).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import BlobRef

PART_BYTES = 4 * 2**20  # one blob part
Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Inbound:
    """A core message: at most once, no acknowledgement."""

    subject: str
    data: bytes
    reply: str = ""
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker stored the message; `duplicate` when it had it already."""

    sequence: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """A message read back from a stream."""

    subject: str
    data: bytes
    sequence: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a bucket. `value` is None when the key was deleted or has expired."""

    key: str
    value: bytes | None
    revision: int


class Delivery(Protocol):
    """A pulled message; it comes back unless acknowledged within the consumer's ack wait."""

    subject: str
    data: bytes
    headers: Headers
    sequence: int
    attempts: int  # how often it was delivered, this time included

    async def ack(self) -> None:
        """Finished; waits until the broker has noted it.

        Raises:
            BusUnavailable: it has not, as for a delivery that a crash of the broker made it
                forget; the message comes again.
        """
        ...

    async def nak(self, *, delay: float = 0.0) -> None:
        """Give it back, to come again after `delay` seconds."""
        ...

    async def term(self, reason: str) -> None:
        """Never deliver it again; the advisory carries the reason."""
        ...

    async def in_progress(self) -> None:
        """Reset the ack wait."""
        ...


class Puller(Protocol):
    """A durable consumer, asked for messages when there is room for them."""

    async def pull(self, count: int, *, wait: float) -> list[Delivery]:
        """Up to `count` messages; returns as soon as there is one and nothing more is ready,
        or an empty list after `wait` seconds. Cancelling leaves nothing behind.
        """
        ...


class Lease(Protocol):
    """A name that one process holds at a time, renewed by compare and swap."""

    @property
    def held(self) -> bool:
        """Whether this process may act; False as soon as a renewal failed or came too late."""
        ...

    async def lost(self) -> None:
        """Return when it is held no more."""
        ...


class Bus(Protocol):
    """One connection. Every call is bounded in time and raises BusUnavailable past it."""

    name: str

    async def publish(self, subject: str, data: bytes, headers: Headers | None = None) -> None:
        """Core publish: at most once, not acknowledged. Raises TooLarge before the server would."""
        ...

    async def request(self, subject: str, data: bytes, *, timeout: float) -> bytes:
        """Core request over an own inbox.

        Raises:
            NoWorker: nobody listens (at once, without waiting).
            DeadlineExceeded: no reply within `timeout` seconds.
        """
        ...

    async def subscribe(
        self, subject: str, handler: Callable[[Inbound], None], *, queue: str = ""
    ) -> "Subscription":
        """Call `handler` (which must not block) for every message; survives reconnects."""
        ...

    async def publish_once(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str,
        headers: Headers | None = None,
        timeout: float = 10.0,
    ) -> Receipt:
        """Store in a stream, retried under one id until acknowledged.

        Raises:
            QueueFull: the stream or the subject's share of it is full.
            TooLarge, BusUnavailable.
        """
        ...

    def puller(self, stream: Stream, consumer: str) -> Puller:
        """The puller of a consumer that `ensure_consumer` made."""
        ...

    async def ensure_consumer(self, worker_class: str, *, workers: int = 1) -> str:
        """Create or update the EL_RUN consumer of a class; returns its name."""
        ...

    async def write_result(self, subject: str, data: bytes) -> bool:
        """Write once. True: this call wrote it; False: a record was already there.

        Raises:
            QueueFull: the stream is full; keep the job and try again.
        """
        ...

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The newest message of a subject, by direct get; None when there is none."""
        ...

    async def history(self, stream: Stream, subject: str, *, limit: int = 1000) -> list[Stored]:
        """Messages that match a subject with wildcards, oldest first."""
        ...

    async def message(self, stream: Stream, sequence: int) -> Stored | None:
        """A message by sequence; None when it is gone."""
        ...

    async def delete(self, stream: Stream, sequence: int) -> bool:
        """Remove a message; False when it was gone."""
        ...

    async def pending(self, stream: Stream, consumer: str) -> int:
        """Messages a consumer has not yet acknowledged, waiting and in hand."""
        ...

    async def put_blob(self, data: bytes, *, keep: bool = False) -> BlobRef:
        """Store bytes in parts. `keep` False: they expire after 24 h; True: until deleted."""
        ...

    async def get_blob(self, ref: BlobRef) -> bytes:
        """Read a blob and check its digest. Raises BlobMissing."""
        ...

    async def delete_blob(self, ref: BlobRef) -> None:
        """Remove all parts."""
        ...

    async def get(self, bucket: Bucket, key: str) -> Entry | None:
        """A value, or None when the key is absent or expired."""
        ...

    async def put(self, bucket: Bucket, key: str, value: bytes) -> int:
        """Set a value; returns its revision."""
        ...

    async def swap(
        self, bucket: Bucket, key: str, value: bytes, *, revision: int, ttl: float | None = None
    ) -> int | None:
        """Set only if the key is at `revision` (0: absent); None when somebody else was first.

        `ttl`: the key expires after so many seconds, rounded up to whole ones; for LEADER and
        SESSIONS.
        """
        ...

    async def remove(self, bucket: Bucket, key: str, *, revision: int | None = None) -> bool:
        """Delete a key; with `revision`, only if it is still there at it. False: it was not."""
        ...

    async def entries(self, bucket: Bucket) -> list[Entry]:
        """All live keys with values."""
        ...

    def watch(self, bucket: Bucket) -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        """All live keys first, then every change; listed again after a reconnect.
        A key that disappears (deleted or expired) is yielded with value None."""
        ...

    def lease(self, key: str, *, ttl: float = 2.0) -> AbstractAsyncContextManager[Lease]:
        """Wait until the lease is ours and keep renewing it; given back on exit."""
        ...

    async def wait_closed(self) -> None:
        """Return when the connection is closed for good: the process must then leave."""
        ...


class Subscription(Protocol):
    """A live core subscription."""

    async def stop(self) -> None:
        """End it."""
        ...
