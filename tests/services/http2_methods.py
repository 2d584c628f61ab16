"""Methods to put behind the HTTP/2 front in its tests."""

import asyncio
from dataclasses import dataclass, field

from services.gateway.front import Call, Methods
from tests.services.http2_peer import UNARY

KIB = 2**10
MEGABYTES_5 = bytes(range(256)) * 4 * KIB * 5


async def echo(_call: Call, data: bytes) -> bytes:
    return data


ECHO = Methods({UNARY: echo}, {})


@dataclass
class Held:
    """A method that answers when it is told to, and knows whether it was cancelled."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list)

    async def unary(self, call: Call, data: bytes) -> bytes:
        self.calls.append(call)
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return data

    @property
    def methods(self) -> Methods:
        return Methods({UNARY: self.unary}, {})

    async def wait(self, event: asyncio.Event) -> None:
        await asyncio.wait_for(event.wait(), 5)
