"""Pulling from a durable consumer with raw requests.

The client library's own fetch stalls on requests that it orphaned itself. Here a request is sent
with `no_wait` and an expiry together: the server then answers at once with what it has, or as soon
as something comes, and says when nothing more is ready.
"""

import time
from contextlib import suppress

import anyio
import anyio.lowlevel
import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.bus.connection import STATUS, Connection, Lost
from shared.bus.port import Delivery, Headers
from shared.contracts.errors import BusUnavailable

NANO = 1_000_000_000
GRACE_SECONDS = 2.0  # past a request's expiry, before its answer counts as lost
ACK_FIELDS = 9  # of the first form of an acknowledgement's subject
ACK_SECONDS = 5.0
ATTEMPT_SECONDS = 1.0
PAUSE_SECONDS = 0.05  # before asking again a server that is starting
NOTHING_READY = (None, "404", "408")


class _Inbox:
    """A subscription for the answers to one request at a time."""

    def __init__(self) -> None:
        self.subject = ""
        self.subscription: Subscription | None = None
        self.messages: list[Msg] = []
        self.status: str | None = None
        self.wanted = 0
        self.done = anyio.Event()

    def expect(self, count: int) -> None:
        """Forget the last request."""
        self.messages, self.status, self.wanted, self.done = [], None, count, anyio.Event()

    def receive(self, message: Msg) -> None:
        """Sort one message: work, or the server's word that there is no more."""
        if message.reply:
            self.messages.append(message)
        elif message.headers:
            self.status = message.headers.get(STATUS)
        if self.status is not None or len(self.messages) >= self.wanted:
            self.done.set()


class JetStreamPuller:
    """See port.Puller. Several tasks may pull at once."""

    def __init__(self, connection: Connection, stream: str, consumer: str) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._idle: list[_Inbox] = []  # subscribed, with no request outstanding

    async def pull(self, count: int, *, wait: float) -> list[Delivery]:
        """Up to `count` messages, or an empty list after `wait` seconds.

        Raises:
            BusUnavailable: closed for good, or the server refuses, as for a consumer that is gone.
        """
        deadline = time.monotonic() + wait
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            messages, refusal = await self._attempt(count, left)
            if messages:
                return [JetStreamDelivery(self._connection, each) for each in messages]
            if time.monotonic() >= deadline:
                if refusal:
                    raise self._connection.unavailable(f"{self._subject}: {refusal}")
                return []
            if refusal:
                await anyio.sleep(PAUSE_SECONDS)

    async def _attempt(self, count: int, wait: float) -> tuple[list[Msg], str]:
        """One request: its messages, and why the server refused it if it did."""
        try:
            await self._connection.up(wait)
        except BusUnavailable:
            if self._connection.closed.is_set():
                raise
            return [], ""
        inbox = await self._open(count)
        undo = self._connection.after_reconnect(inbox.done.set)
        try:
            await self._request(inbox, count, wait)
            with anyio.move_on_after(wait + GRACE_SECONDS):
                await inbox.done.wait()
        except BaseException:
            await self._abandon(inbox)
            raise
        finally:
            undo()
            await self._release(inbox)
        return inbox.messages, "" if inbox.status in NOTHING_READY else f"status {inbox.status}"

    async def _open(self, count: int) -> _Inbox:
        inbox = self._idle.pop() if self._idle else _Inbox()
        inbox.expect(count)
        if inbox.subscription is None:
            inbox.subject = self._connection.client.new_inbox()
            with anyio.CancelScope(shield=True):  # cancelled half way it would never be ended
                inbox.subscription = await self._connection.subscribe(inbox.subject, inbox.receive)
        return inbox

    async def _request(self, inbox: _Inbox, count: int, wait: float) -> None:
        body: dict[str, object] = {"batch": count, "no_wait": True}
        if wait > 0:
            body["expires"] = int(wait * NANO)
        await self._connection.publish(
            self._subject, msgspec.json.encode(body), reply=inbox.subject
        )

    async def _release(self, inbox: _Inbox) -> None:
        """Keep the subscription when the request is over; end it, and so the request, otherwise."""
        if inbox.status is not None or len(inbox.messages) >= inbox.wanted:
            self._idle.append(inbox)
        elif inbox.subscription is not None:
            await self._connection.unsubscribe(inbox.subscription)
            inbox.subscription = None

    async def _abandon(self, inbox: _Inbox) -> None:
        """Give back what has arrived for a pull that was cancelled."""
        with anyio.CancelScope(shield=True), suppress(BusUnavailable):
            while inbox.subscription is not None and inbox.subscription.pending_msgs:
                await anyio.lowlevel.checkpoint()  # until the callback has seen them
            for message in inbox.messages:
                await self._connection.publish(message.reply, b"-NAK")


class JetStreamDelivery:
    """See port.Delivery."""

    def __init__(self, connection: Connection, message: Msg) -> None:
        self._connection = connection
        self._reply = message.reply
        self.subject = message.subject
        self.data = message.data
        self.headers: Headers = message.headers or {}
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>;
        # the second form has domain and account after ACK, and a token at its end.
        fields = message.reply.split(".")
        delivered = 4 if len(fields) == ACK_FIELDS else 6
        self.attempts = int(fields[delivered])
        self.sequence = int(fields[delivered + 1])

    async def ack(self) -> None:
        """Acknowledge, asked again when the answer is lost."""
        await self._tell(b"+ACK")

    async def nak(self, *, delay: float = 0.0) -> None:
        """Give back, for `delay` seconds later."""
        if delay <= 0:
            await self._tell(b"-NAK")
        else:
            await self._tell(b"-NAK " + msgspec.json.encode({"delay": int(delay * NANO)}))

    async def term(self, reason: str) -> None:
        """Never again; the server announces the reason."""
        await self._tell(b"+TERM " + " ".join(reason.split())[:512].encode())

    async def in_progress(self) -> None:
        """Start the ack wait anew. Not confirmed: the next one comes soon."""
        await self._connection.publish(self._reply, b"+WPI")
        await anyio.lowlevel.checkpoint()

    async def _tell(self, verdict: bytes) -> None:
        deadline = time.monotonic() + ACK_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            await self._connection.up(left)
            with suppress(Lost, TimeoutError):
                await self._connection.ask(
                    self._reply, verdict, timeout=min(left, ATTEMPT_SECONDS), fragile=True
                )
                return
        raise self._connection.unavailable(f"{verdict[:5]!r} was not noted in {ACK_SECONDS} s")
