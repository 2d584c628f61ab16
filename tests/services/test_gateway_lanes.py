"""Packing: one message in flight per worker and artifact, the rest rides in the next."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import numpy as np
import pytest

from services.gateway.lanes import Lanes, Work, WorkerLost
from services.gateway.limits import Limits
from services.gateway.routes import Target
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.contracts import packed, subjects
from shared.contracts.errors import DeadlineExceeded, NoWorker, SuiteError
from tests.services.gateway_house import DENSE, INT8, FakeWorker
from tests.services.waiting import until

TARGET = Target(subjects.interactive_worker("w"), "cpu", "w")


@dataclass
class Floor:
    """Lanes with one worker at their end."""

    lanes: Lanes
    worker: FakeWorker
    replies: list[asyncio.Future[float]] = field(default_factory=list)

    def send(self, value: float, **options: object) -> "asyncio.Task[float]":
        return asyncio.ensure_future(self.call(value, **options))

    async def call(self, value: float, **options: object) -> float:
        reply = await self.lanes.call(TARGET, work(value, **options))
        return float(np.frombuffer(reply.body[:4], np.float32)[0])


def work(value: float, **options: object) -> Work:
    """A row whose first output is `value`."""
    body = np.array([value, 0, 0, 0], np.float32).tobytes()
    now = asyncio.get_running_loop().time()
    given = {"artifact": DENSE, "deadline": now + 10, "patience": 5.0, **options}
    return Work(heads=(packed.Head("x", "f32", (1, 4)),), bodies=[body], outputs=("y",), **given)


@asynccontextmanager
async def floor(memory: MemoryBroker, **limits: int) -> AsyncIterator[Floor]:
    bus: Bus = memory.connect("gateway")
    async with anyio.create_task_group() as group:
        worker = FakeWorker(bus, "w")
        await worker.start(group)
        yield Floor(Lanes(bus, group, replace(Limits(), **limits)), worker)
        group.cancel_scope.cancel()


async def test_calls_that_arrive_during_a_message_ride_in_the_next(memory: MemoryBroker) -> None:
    async with floor(memory) as lane:
        lane.worker.open.clear()
        first = lane.send(1.0)
        await until(lambda: len(lane.worker.messages) == 1)
        rest = [lane.send(float(value)) for value in range(2, 12)]
        await until(lambda: lane.lanes.load(TARGET, DENSE) == 11)
        lane.worker.open.set()
        values = await asyncio.gather(first, *rest)

    assert values == [float(value) for value in range(1, 12)]
    assert [len(message) for message in lane.worker.messages] == [1, 10]


async def test_artifacts_do_not_wait_for_each_other(memory: MemoryBroker) -> None:
    async with floor(memory) as lane:
        lane.worker.open.clear()
        sent = [lane.send(1.0), lane.send(2.0, artifact=INT8)]
        await until(lambda: len(lane.worker.messages) == 2)
        lane.worker.open.set()
        await asyncio.gather(*sent)

    assert {message[0].artifact for message in lane.worker.messages} == {DENSE, INT8}


async def test_a_message_holds_no_more_calls_and_bytes_than_allowed(memory: MemoryBroker) -> None:
    async with floor(memory, pack=3, inline=16 * 5) as lane:
        await asyncio.gather(*(lane.send(float(value)) for value in range(10)))
    counted = [len(message) for message in lane.worker.messages]
    async with floor(memory, pack=100, inline=16 * 2) as lane:
        await asyncio.gather(*(lane.send(float(value)) for value in range(10)))

    assert max(counted) == 3
    assert max(len(message) for message in lane.worker.messages) == 2


async def test_urgent_calls_leave_first(memory: MemoryBroker) -> None:
    async with floor(memory, pack=1) as lane:
        lane.worker.open.clear()
        order: list[float] = []

        async def note(value: float, priority: int) -> None:
            order.append(await lane.call(value, priority=priority))

        async with anyio.create_task_group() as group:
            group.start_soon(note, 0.0, 5)
            await until(lambda: len(lane.worker.messages) == 1)
            for value, priority in ((1.0, 5), (2.0, 1), (3.0, 5), (4.0, 1)):
                group.start_soon(note, value, priority)
            await until(lambda: lane.lanes.load(TARGET, DENSE) == 5)
            lane.worker.open.set()

    assert order == [0.0, 2.0, 4.0, 1.0, 3.0]


async def test_a_call_that_nobody_waits_for_does_not_leave(memory: MemoryBroker) -> None:
    async with floor(memory) as lane:
        lane.worker.open.clear()
        first = lane.send(1.0)
        await until(lambda: len(lane.worker.messages) == 1)
        given_up, kept = lane.send(2.0), lane.send(3.0)
        await until(lambda: lane.lanes.load(TARGET, DENSE) == 3)
        given_up.cancel()
        await asyncio.wait([given_up])
        lane.worker.open.set()
        values = await asyncio.gather(first, kept)

    assert values == [1.0, 3.0]
    assert [len(message) for message in lane.worker.messages] == [1, 1]


async def test_nobody_at_the_target_fails_the_calls_at_once(memory: MemoryBroker) -> None:
    async with floor(memory) as lane:
        await lane.worker.die()
        failures = await asyncio.gather(*(lane.send(1.0) for _ in range(3)), return_exceptions=True)

    assert [type(failure) for failure in failures] == [NoWorker] * 3


async def test_silence_ends_with_the_patience_of_the_call(memory: MemoryBroker) -> None:
    async with floor(memory) as lane:
        lane.worker.open.clear()
        with pytest.raises(DeadlineExceeded):
            await lane.call(1.0, patience=0.01)


async def test_dropped_worker_fails_what_is_in_flight_and_the_lane_goes_on(
    memory: MemoryBroker,
) -> None:
    async with floor(memory) as lane:
        lane.worker.open.clear()
        first = lane.send(1.0)
        await until(lambda: len(lane.worker.messages) == 1)
        second = lane.send(2.0)
        await until(lambda: lane.lanes.load(TARGET, DENSE) == 2)
        dropped = lane.lanes.drop("w")
        lane.worker.open.set()
        failure, value = await asyncio.gather(first, second, return_exceptions=True)

    assert dropped == 1
    assert isinstance(failure, WorkerLost)
    assert value == 2.0


async def test_a_worker_that_nobody_can_stand_in_for_keeps_its_calls(
    memory: MemoryBroker,
) -> None:
    async with floor(memory) as lane:
        lane.worker.open.clear()
        first = lane.send(1.0)
        await until(lambda: len(lane.worker.messages) == 1)
        dropped = lane.lanes.drop("w", where=lambda artifact: artifact == INT8)
        lane.worker.open.set()
        value = await first

    assert (dropped, value) == (0, 1.0)


async def test_reply_with_another_number_of_answers_fails_all(memory: MemoryBroker) -> None:
    async with floor(memory) as lane:
        lane.worker.garbage = b""
        with pytest.raises(SuiteError, match="1 calls were answered by 0"):
            await lane.call(1.0)
