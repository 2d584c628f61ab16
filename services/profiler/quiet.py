"""Whether anybody works: a measurement beside other work measures that, too."""

import time
from collections.abc import Awaitable, Callable

import anyio

from shared.bus.port import Inbound
from shared.contracts.errors import InvalidMessage
from shared.contracts.v1.workers import Heartbeat

CALM = 1.2  # [s] without a job in any hand; two beats are 1 s apart


class Quiet:
    """Follows the heartbeats for durable jobs in hand."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._busy = clock()  # [s] when somebody was last seen at work; nothing is known yet

    def hear(self, message: Inbound) -> None:
        """Note a heartbeat."""
        try:
            beat = Heartbeat.decode(message.data)
        except InvalidMessage:  # the scheduler reports it
            return
        if beat.running:
            self._busy = self._clock()

    async def wait(self, most: float) -> None:
        """Return when nobody has worked for `CALM` seconds, or after `most` seconds."""
        end = self._clock() + most
        while (left := min(self._busy + CALM, end) - self._clock()) > 0:
            await self._sleep(left)
