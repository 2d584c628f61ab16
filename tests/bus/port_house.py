"""What tests of the port share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from shared.bus.port import Bus, Delivery, Inbound
from shared.bus.topology import Topology
from shared.contracts import subjects
from shared.contracts.subjects import Stream

Start = Callable[[Topology], Callable[[str], AbstractAsyncContextManager[Bus]]]
WAIT = 5.0  # [s] longer than anything here takes


class Heard:
    """A handler that keeps what it was called with and can be awaited."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self._changed = anyio.Event()

    def __call__(self, message: Inbound) -> None:
        self.messages.append(message)
        self._changed.set()

    async def count(self, wanted: int) -> list[bytes]:
        """The data, once there are `wanted` messages."""
        with anyio.fail_after(WAIT):
            while len(self.messages) < wanted:
                self._changed = anyio.Event()
                await self._changed.wait()
        return [message.data for message in self.messages]


async def queued(bus: Bus, own: str, *bodies: bytes) -> None:
    """Put placed work in the queue of the class `own`."""
    await bus.ensure_consumer(own)
    for index, body in enumerate(bodies):
        await bus.publish_once(subjects.run(own, "infer"), body, message_id=f"{own}.{index}")


async def pull_one(bus: Bus, own: str, *, wait: float = WAIT) -> Delivery:
    """The next delivery of the class `own`."""
    [delivery] = await bus.puller(Stream.RUN, own).pull(1, wait=wait)
    return delivery
