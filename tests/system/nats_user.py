"""Somebody who has NATS and nothing of the suite: publishes frames, reads records and letters."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import PubAck
from nats.js.errors import NotFoundError

from tests.system.frames import TENANT

PATIENCE = 20.0  # [s] for an answer of processes on a busy machine


@dataclass(slots=True)
class User:
    """One connection, which hears every dead letter."""

    client: Client
    letters: list[Msg] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # jobs of the tenant, as they are announced

    async def publish(self, content: bytes, *, kind: str = "operator", job: str = "") -> PubAck:
        """Hand in a frame; `job` asks the broker to take the same job once."""
        headers = {"Nats-Msg-Id": f"{TENANT}.{job}"} if job else None
        subject = f"el.v1.job.{TENANT}.{kind}"
        return await self.client.jetstream().publish(subject, content, headers=headers)

    async def letter(self, content: bytes) -> Msg:
        """The dead letter that keeps this frame."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for letter in self.letters:
                    if letter.data == content:
                        return letter
                await asyncio.sleep(0.01)

    async def record(self, job: str, *, tenant: str = TENANT) -> dict[str, object]:
        """How a job ended; waits for it."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.ending(job, tenant=tenant)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found

    async def ending(self, job: str, *, tenant: str = TENANT) -> dict[str, object] | None:
        """How a job ended, if it has."""
        subject = f"el.v1.res.{tenant}.{job}"
        try:
            stored = await self.client.jetstream().get_last_msg("EL_RES", subject, direct=True)
        except NotFoundError:
            return None
        assert stored.data is not None
        return message_of(stored.data)

    async def waiting(self, stream: str) -> int:
        """Messages in a stream."""
        return (await self.client.jetstream().stream_info(stream)).state.messages


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[User]:
    """A connection that is closed in the end."""
    client = await nats.connect(url)
    user = User(client)

    async def bury(letter: Msg) -> None:
        user.letters.append(letter)

    async def end(announced: Msg) -> None:
        user.ended.append(announced.subject.rpartition(".")[2])

    await client.subscribe("el.v1.dlq.>", cb=bury)
    await client.subscribe(f"el.v1.done.{TENANT}.*", cb=end)
    try:
        yield user
    finally:
        await client.close()


def message_of(content: bytes) -> dict[str, object]:
    """The JSON of a record, with tensors or without."""
    if content[:1] != b"{":
        size = int.from_bytes(content[:8], "little")
        content = json.loads(content[8 : 8 + size])["__metadata__"]["message"]
    found = json.loads(content)
    assert isinstance(found, dict)
    return found
