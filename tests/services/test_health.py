"""The health check of a container, on the in-memory bus."""

from shared.bus.memory import MemoryBroker
from shared.chassis import health
from shared.contracts.subjects import Bucket
from shared.contracts.v1.workers import WorkerCard


def card(host: str) -> bytes:
    return WorkerCard(
        worker="cpu-1", worker_class="cpu", service="cpu-worker", pid=1, host=host
    ).encode()


async def test_a_host_is_healthy_while_its_worker_has_a_card(memory: MemoryBroker) -> None:
    bus = memory.connect("check")

    before = await health.worker_lives(bus, "here")
    await bus.put(Bucket.WORKERS, "cpu-1", card("here"))

    assert not before
    assert await health.worker_lives(bus, "here")


async def test_the_worker_of_another_host_makes_nobody_healthy(memory: MemoryBroker) -> None:
    bus = memory.connect("check")

    await bus.put(Bucket.WORKERS, "cpu-1", card("there"))

    assert not await health.worker_lives(bus, "here")


async def test_a_scheduler_is_healthy_while_somebody_leads(memory: MemoryBroker) -> None:
    bus = memory.connect("check")

    before = await health.leader_exists(bus)
    async with bus.lease("sched"):
        during = await health.leader_exists(bus)

    assert (before, during) == (False, True)
