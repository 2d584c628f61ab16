"""The twin's ways to fail, and its clock."""

import anyio
import pytest

from shared.bus.memory import MemoryBroker
from shared.bus.port import Inbound
from shared.bus.store import matches
from shared.bus.topology import Topology
from shared.contracts import subjects
from shared.contracts.errors import BusUnavailable, DeadlineExceeded
from shared.contracts.subjects import Bucket, Stream


class Clock:
    """Time that only a test moves [s]."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("pattern", "subject", "fits"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.>", "a.b.c", True),
        (">", "a", True),
        ("*.b", "a.b", True),
        ("a.>", "a", False),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.b", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("ab", "a", False),
    ],
)
def test_filters_match_as_subjects_of_nats_do(pattern: str, subject: str, fits: bool) -> None:
    assert matches(pattern, subject) is fits


async def test_a_lost_acknowledgement_does_not_store_twice(memory: MemoryBroker) -> None:
    bus = memory.connect("client")
    memory.lose_acks(1)

    receipt = await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")

    assert receipt.duplicate
    assert len(await bus.history(Stream.JOBS, subjects.ALL_JOBS)) == 1


async def test_a_result_whose_acknowledgement_was_lost_counts_as_written(
    memory: MemoryBroker,
) -> None:
    memory.lose_acks(1)

    assert await memory.connect("worker").write_result(subjects.result("t", "job"), b"1")


async def test_calls_in_an_outage_end_with_their_timeout(memory: MemoryBroker) -> None:
    bus = memory.connect("client")
    await bus.ensure_consumer("cpu")

    with memory.outage():
        with pytest.raises(BusUnavailable):
            await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1", timeout=0.01)
        with pytest.raises(DeadlineExceeded):
            await bus.request("any", b"", timeout=0.01)
        assert await bus.puller(Stream.RUN, "cpu").pull(1, wait=0.01) == []

    assert await bus.history(Stream.JOBS, subjects.ALL_JOBS) == []


async def test_what_was_asked_in_an_outage_is_done_after_it(memory: MemoryBroker) -> None:
    bus = memory.connect("client")
    heard: list[Inbound] = []
    await bus.subscribe("news", heard.append)

    async with anyio.create_task_group() as group:
        with memory.outage():
            group.start_soon(
                lambda: bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")
            )
            await bus.publish("news", b"2")

    await anyio.lowlevel.checkpoint()
    assert [each.data for each in await bus.history(Stream.JOBS, subjects.ALL_JOBS)] == [b"1"]
    assert [each.data for each in heard] == [b"2"]


async def test_a_message_on_its_way_is_lost_when_the_connection_breaks(
    memory: MemoryBroker,
) -> None:
    bus = memory.connect("client")
    heard: list[Inbound] = []
    await bus.subscribe("news", heard.append)

    memory.publish(Inbound("news", b"lost"))
    with memory.outage():
        await anyio.lowlevel.checkpoint()
    await bus.publish("news", b"heard")

    assert [each.data for each in heard] == [b"heard"]


async def test_a_watch_learns_after_an_outage_what_it_missed(memory: MemoryBroker) -> None:
    bus = memory.connect("gateway")
    await bus.put(Bucket.MODELS, "a", b"1")

    async with bus.watch(Bucket.MODELS) as changes:
        await anext(changes)
        await bus.put(Bucket.MODELS, "b", b"2")
        with memory.outage():
            await anyio.lowlevel.checkpoint()  # the announcement is lost here

        with anyio.fail_after(2.0):  # the list of every 10 s would be too late
            assert (await anext(changes)).key == "b"


async def test_a_restart_empties_memory_buckets_and_keeps_the_rest(memory: MemoryBroker) -> None:
    bus = memory.connect("worker")
    await bus.put(Bucket.WORKERS, "cpu-1", b"card")
    await bus.put(Bucket.MODELS, "mlp", b"manifest")
    first = await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")

    memory.restart()

    assert await bus.get(Bucket.WORKERS, "cpu-1") is None
    assert await bus.get(Bucket.MODELS, "mlp") is not None
    again = await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")
    assert again.sequence == first.sequence
    assert again.duplicate


async def test_an_id_is_forgotten_by_a_restart_once_its_message_was_consumed(
    memory: MemoryBroker,
) -> None:
    bus = memory.connect("scheduler")
    await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")
    [delivery] = await bus.puller(Stream.JOBS, "sched").pull(1, wait=1.0)
    await delivery.ack()

    memory.restart()
    again = await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")

    assert not again.duplicate


async def test_a_delivery_from_before_a_restart_comes_again_and_cannot_be_acknowledged(
    memory: MemoryBroker,
) -> None:
    bus = memory.connect("scheduler")
    await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")
    puller = bus.puller(Stream.JOBS, "sched")
    [before] = await puller.pull(1, wait=1.0)

    memory.restart()

    with pytest.raises(BusUnavailable, match="crash"):
        await before.ack()
    [again] = await puller.pull(1, wait=1.0)
    assert again.sequence == before.sequence


async def test_time_is_what_the_clock_says() -> None:
    clock = Clock()
    broker = MemoryBroker(Topology(run_ack_wait=10.0), clock)
    bus = broker.connect("worker")
    await bus.ensure_consumer("cpu")
    await bus.publish_once(subjects.run("cpu", "infer"), b"1", message_id="1")
    await bus.put(Bucket.WORKERS, "cpu-1", b"card")
    puller = bus.puller(Stream.RUN, "cpu")
    await puller.pull(1, wait=0.0)

    clock.now = 9.9
    assert await puller.pull(1, wait=0.0) == []
    clock.now = 10.0
    assert [each.attempts for each in await puller.pull(1, wait=0.0)] == [2]

    assert await bus.get(Bucket.WORKERS, "cpu-1") is None  # 3 s have passed too


async def test_a_waiting_pull_looks_again_when_the_clock_was_moved() -> None:
    clock = Clock()
    broker = MemoryBroker(clock=clock)
    bus = broker.connect("scheduler")
    await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1")
    puller = bus.puller(Stream.JOBS, "sched")
    await puller.pull(1, wait=0.0)
    attempts: list[int] = []

    async def pull() -> None:
        attempts.extend([each.attempts for each in await puller.pull(1, wait=10.0)])

    async with anyio.create_task_group() as group:
        group.start_soon(pull)
        await anyio.lowlevel.checkpoint()
        clock.now = 6.0  # past the ack wait of 5 s
        broker.wake()

    assert attempts == [2]


async def test_a_broker_that_closes_for_good_ends_every_call(memory: MemoryBroker) -> None:
    bus = memory.connect("worker")
    await bus.ensure_consumer("cpu")

    memory.close()

    await bus.wait_closed()
    with pytest.raises(BusUnavailable):
        await bus.publish("any", b"")
    with pytest.raises(BusUnavailable):
        await bus.get(Bucket.MODELS, "any")
    with pytest.raises(BusUnavailable):
        await bus.puller(Stream.RUN, "cpu").pull(1, wait=1.0)
