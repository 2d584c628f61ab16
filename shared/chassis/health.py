"""The health check of a container: ``python -m shared.chassis.health [--leader]``.

Healthy means that the broker knows this host's worker (its card is alive in `el_workers`), or with
``--leader`` that some scheduler holds the lease. Exit code 0 or 1.
"""

import asyncio
import socket
import sys

from shared.bus import jetstream
from shared.bus.port import Bus
from shared.chassis.settings import BusSettings, load
from shared.contracts.errors import SuiteError
from shared.contracts.subjects import Bucket
from shared.contracts.v1.workers import WorkerCard


async def leader_exists(bus: Bus) -> bool:
    """Whether a scheduler holds the lease."""
    return bool(await bus.entries(Bucket.LEADER))


async def worker_lives(bus: Bus, host: str) -> bool:
    """Whether a worker of this host put its card in the last seconds."""
    cards = [WorkerCard.decode(entry.value or b"") for entry in await bus.entries(Bucket.WORKERS)]
    return any(card.host == host for card in cards)


async def check(*, leader: bool) -> bool:
    """Ask the broker once, within four seconds."""
    try:
        async with asyncio.timeout(4.0), jetstream.connect(load(BusSettings)) as bus:
            return await (leader_exists(bus) if leader else worker_lives(bus, socket.gethostname()))
    except (TimeoutError, SuiteError):
        return False


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(check(leader="--leader" in sys.argv)) else 1)
