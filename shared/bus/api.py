"""JetStream by its JSON interface: every call bounded in time, every refusal a named error."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import msgspec
from nats.aio.msg import Msg

from shared.bus.connection import NO_RESPONDERS, STATUS, Connection, Lost
from shared.bus.durable import CALL_SECONDS, Refused, WrongRevision
from shared.bus.port import Headers, Receipt, Stored
from shared.contracts.errors import BusUnavailable, QueueFull, TooLarge

ATTEMPT_SECONDS = 2.0  # one attempt of a publish that is retried
PAUSE_SECONDS = 0.05  # before asking again a server that is starting
BATCH = 256  # messages per page of a batched read
MAX_PAGE_BYTES = 8 * 2**20

FULL = 10077  # a limit of the stream or of the subject is reached
OVERSIZE = 10054
ADDED_HEADERS = (  # by a direct get
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
)
WRONG_LAST_SEQUENCE = (10071, 10164)
NOT_FOUND = 404
GONE = (10037, 10043, 10057)  # no such message
UNAVAILABLE = (429, 503)


class Refusal(msgspec.Struct, frozen=True):
    """The `error` of a reply."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class ApiRefused(Refused):
    """The server's interface said no."""

    def __init__(self, subject: str, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{subject}: {refusal.description} ({refusal.code}/{refusal.err_code})")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Any reply; unknown fields are ignored."""

    error: Refusal | None = None


class PubAck(Reply, frozen=True):
    """A message is stored."""

    seq: int = 0
    duplicate: bool = False


class StreamState(Reply, frozen=True):
    """How a stream is configured, as the server says it."""

    config: dict[str, object] = {}


class ConsumerState(Reply, frozen=True):
    """What is left for a consumer."""

    num_pending: int = 0
    num_ack_pending: int = 0


R = TypeVar("R", bound=Reply)


class Api:
    """Calls to `$JS.API` and publishes that are acknowledged."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def call(self, verb: str, body: Mapping[str, object], kind: type[R]) -> R:
        """Ask the server's interface.

        Raises:
            ApiRefused: it said no.
            BusUnavailable: it said nothing within 5 s.
        """
        message = await self._ask(f"$JS.API.{verb}", msgspec.json.encode(body) if body else b"")
        reply = msgspec.json.decode(message.data, type=kind)
        if reply.error is not None:
            raise ApiRefused(verb, reply.error)
        return reply

    async def store(
        self, subject: str, data: bytes, headers: Headers, *, timeout: float
    ) -> Receipt:
        """Publish until the stream acknowledges it; the headers hold a Nats-Msg-Id.

        Raises:
            QueueFull, TooLarge, BusUnavailable: see the port.
            WrongRevision: the subject is not where the headers expect it.
            ApiRefused: any other reason.
        """
        message = await self._ask(subject, data, headers, timeout=timeout)
        ack = msgspec.json.decode(message.data, type=PubAck)
        if ack.error is None:
            return Receipt(ack.seq, duplicate=ack.duplicate)
        if ack.error.err_code == FULL:
            raise QueueFull(f"{subject}: {ack.error.description}")
        if ack.error.err_code == OVERSIZE:
            raise TooLarge(f"{len(data)} bytes for {subject}: {ack.error.description}")
        if ack.error.err_code in WRONG_LAST_SEQUENCE:
            raise WrongRevision(f"{subject}: {ack.error.description}")
        raise ApiRefused(subject, ack.error)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The newest message of a subject."""
        return _stored(await self._ask(f"$JS.API.DIRECT.GET.{stream}.{subject}", b""))

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """A message by sequence."""
        body = msgspec.json.encode({"seq": sequence})
        return _stored(await self._ask(f"$JS.API.DIRECT.GET.{stream}", body))

    async def matching(self, stream: str, subject: str, *, limit: int) -> list[Stored]:
        """Messages whose subject matches a filter, oldest first, read page by page."""
        found: list[Stored] = []
        while len(found) < limit:
            start = found[-1].sequence + 1 if found else 1
            page, more = await self._page(stream, subject, start, min(BATCH, limit - len(found)))
            found += page
            if not page or not more:
                break
        return found

    async def delete(self, stream: str, sequence: int) -> bool:
        """Remove a message; False when it was gone."""
        body = {"seq": sequence, "no_erase": True}
        try:
            await self.call(f"STREAM.MSG.DELETE.{stream}", body, Reply)
        except ApiRefused as error:
            if error.refusal.code == NOT_FOUND or error.refusal.err_code in GONE:
                return False
            raise
        return True

    async def _page(
        self, stream: str, subject: str, start: int, count: int
    ) -> tuple[list[Stored], bool]:
        """One batched direct get: the messages, and whether more are left."""
        body = {"seq": start, "batch": count, "next_by_subj": subject, "max_bytes": MAX_PAGE_BYTES}
        deadline = time.monotonic() + CALL_SECONDS
        while time.monotonic() < deadline:
            async with self._pages(stream, msgspec.json.encode(body)) as (page, end):
                with anyio.move_on_after(ATTEMPT_SECONDS):
                    await end.wait()
            status = (page[-1].headers or {}) if page else {}
            if not page or _sequence(page[-1]) is not None or status[STATUS] == NO_RESPONDERS:
                await anyio.sleep(PAUSE_SECONDS)
                continue
            found = [stored for message in page if (stored := _stored(message)) is not None]
            return found, int(status.get("Nats-Num-Pending", "0")) > 0
        raise self._connection.unavailable(f"{stream} was not read within {CALL_SECONDS} s")

    @asynccontextmanager
    async def _pages(
        self, stream: str, body: bytes
    ) -> AsyncIterator[tuple[list[Msg], anyio.Event]]:
        page: list[Msg] = []
        end = anyio.Event()

        def receive(message: Msg) -> None:
            page.append(message)
            if _sequence(message) is None:
                end.set()

        await self._connection.up(CALL_SECONDS)
        async with self._connection.gather(receive) as inbox:
            undo = self._connection.after_reconnect(end.set)
            try:
                await self._connection.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=inbox)
                yield page, end
            finally:
                undo()

    async def _ask(
        self,
        subject: str,
        data: bytes,
        headers: Headers | None = None,
        *,
        timeout: float = CALL_SECONDS,
    ) -> Msg:
        """Ask again until there is a reply: after a broken connection, while the server starts."""
        deadline = time.monotonic() + timeout
        why = "no reply"
        while (left := deadline - time.monotonic()) > 0:
            await self._connection.up(left)
            try:
                reply = await self._connection.ask(
                    subject, data, headers, timeout=min(left, ATTEMPT_SECONDS), fragile=True
                )
            except (Lost, TimeoutError):
                continue
            refusal = _transient(reply)
            if refusal is None:
                return reply
            why = refusal
            await anyio.sleep(PAUSE_SECONDS)
        raise self._connection.unavailable(f"{subject} was not answered in {timeout:.1f} s: {why}")


def _transient(message: Msg) -> str | None:
    """Why to ask again, or None when the reply is one to act on."""
    if message.headers:  # a direct get, or the server's word that nobody took the request
        missing = _sequence(message) is None and message.headers.get(STATUS) == NO_RESPONDERS
        return "nothing listens there" if missing else None
    error = msgspec.json.decode(message.data, type=Reply).error
    if error is None or error.code not in UNAVAILABLE or error.err_code == FULL:
        return None
    return error.description


def _sequence(message: Msg) -> int | None:
    """The stream sequence of a direct get's message; None for a status."""
    text = (message.headers or {}).get("Nats-Sequence")
    return int(text) if text else None


def _stored(message: Msg) -> Stored | None:
    """The message that a direct get returned; None when there is none."""
    headers = message.headers or {}
    sequence = _sequence(message)
    if sequence is None:
        if headers.get(STATUS) not in ("404", "204"):
            raise BusUnavailable(f"direct get: {headers.get(STATUS)} {headers.get('Description')}")
        return None
    own = {name: value for name, value in headers.items() if name not in ADDED_HEADERS}
    return Stored(headers["Nats-Subject"], message.data, sequence, own)
