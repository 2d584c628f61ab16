"""One connection to NATS: the only place that holds the client library's object.

What the library gets wrong is avoided here, once: requests ride on an own inbox with plain futures
(its own `request` costs a timer task per call), sizes are checked with the headers (the server
closes a connection for good over a payload that fits only without them), publishing yields (its
`publish` may swallow a cancellation), and nothing is ever drained or flushed with a short timeout.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import anyio
import anyio.lowlevel
import structlog
from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.bus.port import Headers
from shared.contracts.errors import BusUnavailable, TooLarge

CONNECT_SECONDS = 10.0
HEADROOM = 64 * 2**10  # [bytes] of max_payload that stay free
PENDING_BYTES = 64 * 2**20  # a subscription with more in its queue drops messages
STATUS, NO_RESPONDERS = "Status", "503"

log = structlog.get_logger()


class BusSettings(Protocol):
    """What a connection needs to know."""

    @property
    def url(self) -> str:
        """nats://host:port, or several with commas."""
        ...

    @property
    def name(self) -> str:
        """Who this is, in the server's list of connections."""
        ...


class Lost(Exception):
    """The connection broke while a reply was awaited; it may be asked again."""


class Connection:
    """Publish, ask, subscribe and listen over one client that reconnects for ever."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client = Client()
        self.closed = anyio.Event()
        self._up = anyio.Event()
        self._inbox = ""
        self._count = 0
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._fragile: set[asyncio.Future[Msg]] = set()
        self._gathering: dict[str, Callable[[Msg], None]] = {}
        self.restore: Callable[[], Awaitable[None]] | None = None  # awaited after a reconnect
        self._after_reconnect: set[Callable[[], None]] = set()
        self._last_error = ""
        self._leaving = False

    async def open(self, url: str) -> None:
        """Connect and prepare the inbox.

        Raises:
            BusUnavailable: no server answers within 10 s.
        """
        self._loop = asyncio.get_running_loop()
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                await self._connect(url)
                self._inbox = self.client.new_inbox() + "."
                await self.subscribe(f"{self._inbox}*", self._receive)
        except (TimeoutError, nats_errors.Error, OSError) as error:
            await self.close()
            why = self._last_error or error
            raise BusUnavailable(f"no NATS at {url} in {CONNECT_SECONDS} s: {why}") from None

    async def _connect(self, url: str) -> None:
        await self.client.connect(
            servers=url.split(","),
            name=self.name,
            inbox_prefix=f"_INBOX.{re.sub('[^A-Za-z0-9_-]', '-', self.name) or 'client'}",
            connect_timeout=2,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # annotated int, used as seconds
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=32 * 2**20,
            drain_timeout=5,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )
        self._up.set()

    async def close(self) -> None:
        """Leave; what was published before is sent. Never drains: that can wait for its timeout."""
        self._leaving = True
        with anyio.CancelScope(shield=True), suppress(nats_errors.Error, OSError):
            await self.client.close()
        self.closed.set()

    async def up(self, timeout: float) -> None:
        """Wait until connected. Raises BusUnavailable after `timeout` seconds or when closed."""
        if self.client.is_connected:
            return
        with anyio.move_on_after(timeout):
            while not self.client.is_connected and not self.closed.is_set():
                self._down()
                await self._up.wait()
        if not self.client.is_connected:
            raise self.unavailable(f"no connection within {timeout:.1f} s")

    def unavailable(self, what: str) -> BusUnavailable:
        """The error for a call that was not answered, with the last asynchronous reason."""
        reason = f"; last error: {self._last_error}" if self._last_error else ""
        return BusUnavailable(what + reason)

    async def publish(
        self, subject: str, data: bytes, headers: Headers | None = None, reply: str = ""
    ) -> None:
        """Hand a message to the connection.

        Raises:
            TooLarge: with its headers it is over the server's limit less 64 KiB.
            BusUnavailable: closed for good, or too much is waiting for a reconnect.
        """
        room = self.client.max_payload - HEADROOM
        size = len(data)
        if headers:
            size += sum(len(key) + len(value) + 4 for key, value in headers.items())
        if size > room:
            raise TooLarge(f"{size} bytes for {subject}, {room} fit in one message")
        try:
            await self.client.publish(subject, data, reply, dict(headers) if headers else None)
        except nats_errors.BadSubjectError:
            raise ValueError(f"{subject!r} is not a subject") from None
        except (nats_errors.Error, OSError) as error:
            raise self.unavailable(f"cannot publish on {subject}: {error}") from None

    async def ask(
        self,
        subject: str,
        data: bytes,
        headers: Headers | None = None,
        *,
        timeout: float,
        fragile: bool = False,
    ) -> Msg:
        """Publish with a reply address and return the first reply, whatever its status.

        Args:
            fragile: raise Lost when the connection breaks meanwhile, rather than wait on.

        Raises:
            TimeoutError: no reply within `timeout` seconds.
        """
        self._count += 1
        token = f"{self._count:x}"
        future: asyncio.Future[Msg] = self._loop.create_future()
        self._waiting[token] = future
        if fragile:
            self._fragile.add(future)
        timer = self._loop.call_later(timeout, _expire, future)
        try:
            await self.publish(subject, data, headers, self._inbox + token)
            return await future
        finally:
            timer.cancel()
            future.cancel()
            self._waiting.pop(token, None)
            self._fragile.discard(future)

    @asynccontextmanager
    async def gather(self, receive: Callable[[Msg], None]) -> AsyncIterator[str]:
        """A reply address for the length of a block; `receive` is called with every reply."""
        self._count += 1
        token = f"{self._count:x}"
        self._gathering[token] = receive
        try:
            yield self._inbox + token
        finally:
            del self._gathering[token]

    async def subscribe(
        self, subject: str, receive: Callable[[Msg], None], *, queue: str = ""
    ) -> Subscription:
        """Call `receive` for every message of a subject, for as long as it is subscribed."""

        async def call(message: Msg) -> None:
            receive(message)

        try:
            return await self.client.subscribe(
                subject, queue, call, pending_bytes_limit=PENDING_BYTES
            )
        except nats_errors.BadSubjectError:
            raise ValueError(f"{subject!r} is not a subject") from None
        except (nats_errors.Error, OSError) as error:
            raise self.unavailable(f"cannot subscribe to {subject}: {error}") from None

    async def settle(self, timeout: float) -> None:
        """Return when the server has handled what was sent before: its order is ours."""
        if not self.client.is_connected:
            return  # subscriptions are sent again after the reconnect
        heard = anyio.Event()
        async with self.gather(lambda _message: heard.set()) as inbox:
            await self.publish(inbox, b"")
            with anyio.move_on_after(timeout):
                await heard.wait()

    @staticmethod
    async def unsubscribe(subscription: Subscription) -> None:
        """End a subscription, also when the connection is going away."""
        with anyio.CancelScope(shield=True), suppress(nats_errors.Error, OSError):
            await subscription.unsubscribe()

    def after_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called after every reconnect; returns what undoes it."""
        self._after_reconnect.add(call)
        return lambda: self._after_reconnect.discard(call)

    def _receive(self, message: Msg) -> None:
        token = message.subject[len(self._inbox) :]
        future = self._waiting.pop(token, None)
        if future is not None:
            if not future.done():
                future.set_result(message)
        elif (receive := self._gathering.get(token)) is not None:
            receive(message)

    def _down(self) -> None:
        if self._up.is_set():
            self._up = anyio.Event()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = f"{type(error).__name__} {error}".strip()
        if isinstance(error, OSError | nats_errors.UnexpectedEOF):
            log.debug("bus.unreachable", connection=self.name, error=self._last_error)
        elif isinstance(error, nats_errors.Error):
            log.warning("bus.error", connection=self.name, error=self._last_error)
        else:
            log.error("bus.handler_failed", connection=self.name, exc_info=error)

    async def _on_disconnected(self) -> None:
        self._down()
        for future in self._fragile:
            if not future.done():
                future.set_exception(Lost())
        if not self._leaving:
            log.info("bus.disconnected", connection=self.name)

    async def _on_reconnected(self) -> None:
        self._last_error = ""
        self._up.set()
        log.info("bus.reconnected", connection=self.name)
        try:
            if self.restore is not None:
                await self.restore()
        except BusUnavailable as error:
            log.warning("bus.not_restored", connection=self.name, error=str(error))
        for call in tuple(self._after_reconnect):
            call()

    async def _on_closed(self) -> None:
        self.closed.set()
        self._up.set()
        if not self._leaving:
            log.error("bus.closed", connection=self.name, error=self._last_error)


def _expire(future: "asyncio.Future[Msg]") -> None:
    if not future.done():
        future.set_exception(TimeoutError())
