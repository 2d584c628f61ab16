"""The receiving half of a call: data in, messages out for one reader."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from services.gateway.http2 import messages
from services.gateway.http2.messages import Assembler, Message
from shared.contracts.errors import InvalidMessage

INLINE: Final = 2**12  # [bytes] a larger compressed message is unpacked in a thread


def _ignore() -> None:
    """Nobody is told."""


class Requests:
    """Messages of a call in their order. `taken` is called when the reader has taken one."""

    __slots__ = (
        "_assembler",
        "_encoding",
        "_ended",
        "_limit",
        "_news",
        "_taken",
        "_waiting",
        "_whole",
    )

    def __init__(self, limit: int, encoding: str, taken: Callable[[], None]) -> None:
        """`limit` is the bytes of one message, packed or not."""
        self._limit, self._encoding, self._taken = limit, encoding, taken
        self._assembler = Assembler(limit)
        self._waiting: deque[Message] = deque()
        self._whole = 0  # [bytes] of what waits
        self._ended = False
        self._news: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """Bytes of whole messages that were not taken yet."""
        return self._whole

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self._whole + self._assembler.held

    def feed(self, data: bytes) -> None:
        """Take the next data of the stream.

        Raises:
            TooLarge, InvalidMessage: see `Assembler.feed`.
        """
        for message in self._assembler.feed(data):
            self._waiting.append(message)
            self._whole += len(message.data)
            self._wake()

    def end(self) -> None:
        """There is no more.

        Raises:
            InvalidMessage: the last message is not complete.
        """
        if self._assembler.begun:
            raise InvalidMessage("the last message is not complete")
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Nobody is told any more what is taken."""
        self._taken = _ignore

    def require_one(self) -> None:
        """Hold the messages so far against a method that takes one.

        Raises:
            InvalidMessage: there is none, or more than one.
        """
        if len(self._waiting) != 1:
            raise InvalidMessage(f"the method takes one message, {len(self._waiting)} came")

    def __aiter__(self) -> "Requests":
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return await self.plain(self.take())

    def take(self) -> Message:
        """The first message that waits; there must be one."""
        message = self._waiting.popleft()
        self._whole -= len(message.data)
        self._taken()
        return message

    async def plain(self, message: Message) -> bytes:
        """A message as its sender meant it.

        Raises:
            TooLarge, InvalidMessage: see `messages.inflate`.
        """
        data, compressed = message
        if not compressed:
            return data
        if len(data) <= INLINE:
            return messages.inflate(data, self._encoding, self._limit)
        return await asyncio.to_thread(messages.inflate, data, self._encoding, self._limit)

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
