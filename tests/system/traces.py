"""What a stack holds and has been through, to compare before and after a test."""

import asyncio
from dataclasses import dataclass

import nats
from nats.js import JetStreamContext

from shared.client.client import Client
from tests.system.processes import Running

PATIENCE = 30.0  # [s] until nothing waits any more


@dataclass(frozen=True, slots=True)
class Traces:
    """Models by name, blobs without an end by subject, and how many processes have died."""

    models: frozenset[str]
    kept: frozenset[str]
    deaths: int


async def of(stack: Running) -> Traces:
    """Look at a stack."""
    async with Client(stack.grpc) as client:
        models = frozenset(manifest.model for manifest in await client.list_models())
    bus = await nats.connect(stack.nats)
    try:
        kept = await _kept(bus.jetstream())
    finally:
        await bus.close()
    said = await asyncio.to_thread(stack.log.read_text)
    return Traces(models, kept, said.count(") was killed by ") + said.count(") ended with code "))


async def drained(stack: Running) -> None:
    """Wait until no job waits and none runs."""
    bus = await nats.connect(stack.nats)
    try:
        async with asyncio.timeout(PATIENCE):
            while await _waiting(bus.jetstream()):  # noqa: ASYNC110 - polls the outside
                await asyncio.sleep(0.02)
    finally:
        await bus.close()


async def _waiting(streams: JetStreamContext) -> int:
    infos = [await streams.stream_info(name) for name in ("EL_JOBS", "EL_RUN")]
    return sum(info.state.messages for info in infos)


async def _kept(streams: JetStreamContext) -> frozenset[str]:
    """Blobs that no time ends: the artifacts of models."""
    info = await streams.stream_info("EL_BLOB", subjects_filter=">")
    kept = []
    for subject in info.state.subjects or {}:
        part = await streams.get_last_msg("EL_BLOB", subject, direct=True)
        if "Nats-TTL" not in (part.headers or {}):
            kept.append(subject)
    return frozenset(kept)
