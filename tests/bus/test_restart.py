"""What survives when the real server is killed and comes back on the same store."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ops.stack.broker import Broker
from shared.bus import jetstream
from shared.bus.jetstream import JetStreamBus
from shared.bus.port import Delivery, Inbound
from shared.bus.topology import Topology
from shared.contracts import subjects
from shared.contracts.errors import BusUnavailable, DeadlineExceeded, NoWorker
from shared.contracts.subjects import Bucket, Stream

pytestmark = pytest.mark.nats
WAIT = 20.0  # [s] longer than anything here takes


@dataclass(frozen=True)
class Settings:
    url: str
    name: str


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A server of the test's own, to be killed."""
    with Broker(tmp_path / "nats") as broker:
        yield broker


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[JetStreamBus]:
    async with connect(broker, "first") as bus:
        yield bus


def connect(broker: Broker, name: str) -> AbstractAsyncContextManager[JetStreamBus]:
    return jetstream.connect(Settings(broker.url, name), topology=Topology(run_ack_wait=1.0))


async def restart(broker: Broker) -> None:
    """A crash, and a new start on the same port and store."""
    await anyio.to_thread.run_sync(broker.kill)
    await anyio.to_thread.run_sync(broker.start)


async def test_publishes_over_a_crash_are_stored_exactly_once(
    broker: Broker, bus: JetStreamBus
) -> None:
    subject = subjects.audit("tenant", "job", "progress")
    async with anyio.create_task_group() as group:
        for index in range(100):
            group.start_soon(
                lambda body: bus.publish_once(subject, body, message_id=body.decode()),
                b"%d" % index,
            )
            if index == 50:
                await anyio.lowlevel.checkpoint()
                group.start_soon(restart, broker)

    stored = await bus.history(Stream.AUDIT, subject)
    assert sorted(int(each.data) for each in stored) == list(range(100))


async def test_a_stored_id_is_known_after_a_crash(broker: Broker, bus: JetStreamBus) -> None:
    subject = subjects.job("tenant", "infer")
    first = await bus.publish_once(subject, b"1", message_id="1")

    await restart(broker)
    again = await bus.publish_once(subject, b"1", message_id="1")

    assert again.duplicate
    assert again.sequence == first.sequence


async def test_the_first_result_still_stands_after_a_crash(
    broker: Broker, bus: JetStreamBus
) -> None:
    subject = subjects.result("tenant", "job")
    assert await bus.write_result(subject, b"first")

    await restart(broker)

    assert not await bus.write_result(subject, b"second")


async def test_subscriptions_and_requests_work_after_a_crash(
    broker: Broker, bus: JetStreamBus
) -> None:
    async with connect(broker, "second") as other, anyio.create_task_group() as group:

        def answer(message: Inbound) -> None:
            group.start_soon(other.publish, message.reply, b"pong")

        await other.subscribe("ping", answer, queue="workers")
        await restart(broker)

        with anyio.fail_after(WAIT):
            while True:
                try:
                    reply = await bus.request("ping", b"", timeout=0.5)
                    break
                except (DeadlineExceeded, NoWorker):  # one of the two is not back yet
                    await anyio.lowlevel.checkpoint()

    assert reply == b"pong"


async def test_a_pull_that_waits_over_a_crash_gets_what_comes_after_it(
    broker: Broker, bus: JetStreamBus
) -> None:
    await bus.ensure_consumer("cpu")
    taken: list[Delivery] = []

    async def pull() -> None:
        taken.extend(await bus.puller(Stream.RUN, "cpu").pull(1, wait=WAIT))

    async with anyio.create_task_group() as group:
        group.start_soon(pull)
        await anyio.lowlevel.checkpoint()
        await restart(broker)
        with anyio.fail_after(WAIT / 2):
            await bus.publish_once(subjects.run("cpu", "infer"), b"1", message_id="1")

    assert [each.data for each in taken] == [b"1"]


async def test_a_job_in_hand_over_a_crash_comes_again_and_can_then_be_acknowledged(
    broker: Broker, bus: JetStreamBus
) -> None:
    await bus.ensure_consumer("cpu")
    await bus.publish_once(subjects.run("cpu", "infer"), b"1", message_id="1")
    puller = bus.puller(Stream.RUN, "cpu")
    await puller.pull(1, wait=WAIT)

    await restart(broker)
    [again] = await puller.pull(1, wait=WAIT)
    await again.ack()

    assert again.data == b"1"
    assert await bus.pending(Stream.RUN, "cpu") == 0


async def test_a_watch_is_rebuilt_after_a_crash(broker: Broker, bus: JetStreamBus) -> None:
    await bus.put(Bucket.MODELS, "stays", b"1")
    await bus.put(Bucket.WORKERS, "forgotten", b"1")

    async with (
        connect(broker, "second") as other,
        other.watch(Bucket.MODELS) as models,
        other.watch(Bucket.WORKERS) as workers,
    ):
        assert (await anext(models)).key == "stays"
        assert (await anext(workers)).key == "forgotten"

        await restart(broker)
        with anyio.fail_after(WAIT):
            # Cards live in memory: gone with the server, said so by the new list.
            gone = await anext(workers)
            await bus.put(Bucket.MODELS, "stays", b"2")
            changed = await anext(models)
            await bus.put(Bucket.WORKERS, "back", b"1")
            back = await anext(workers)

    assert (gone.key, gone.value) == ("forgotten", None)
    assert (changed.key, changed.value) == ("stays", b"2")
    assert (back.key, back.value) == ("back", b"1")


async def test_a_lease_is_lost_or_held_but_never_by_two_after_a_crash(
    broker: Broker, bus: JetStreamBus
) -> None:
    async with connect(broker, "second") as other, bus.lease("sched") as first:
        await restart(broker)

        with anyio.fail_after(WAIT):
            await first.lost()
            async with other.lease("sched") as second:
                assert second.held
                assert not first.held


async def test_a_call_ends_while_the_server_is_away(broker: Broker, bus: JetStreamBus) -> None:
    await anyio.to_thread.run_sync(broker.kill)

    with anyio.fail_after(WAIT):
        with pytest.raises(BusUnavailable):
            await bus.publish_once(subjects.job("t", "infer"), b"1", message_id="1", timeout=0.5)
        with pytest.raises(BusUnavailable):
            await bus.get(Bucket.MODELS, "any")
        assert await bus.puller(Stream.RUN, "cpu").pull(1, wait=0.1) == []


async def test_a_connection_closed_for_good_says_so_and_refuses_every_call(
    bus: JetStreamBus,
) -> None:
    # The server closes the connection of a client that sends more than max_payload.
    payload = bytes(8 * 2**20)
    await bus._connection.client.publish("any", payload, headers={"one": "more"})

    with anyio.fail_after(WAIT):
        await bus.wait_closed()

    with pytest.raises(BusUnavailable):
        await bus.publish("any", b"")
    with pytest.raises(BusUnavailable):
        await bus.get(Bucket.MODELS, "any")
    with pytest.raises(BusUnavailable):
        await bus.puller(Stream.RUN, "cpu").pull(1, wait=1.0)


async def test_no_server_is_said_with_the_address(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.connection.CONNECT_SECONDS", 0.3)
    await anyio.to_thread.run_sync(broker.stop)

    with pytest.raises(BusUnavailable, match=broker.url):
        async with connect(broker, "late"):
            pass


async def test_many_services_may_start_at_once(broker: Broker) -> None:
    async with anyio.create_task_group() as group:

        async def start(name: str) -> None:
            async with connect(broker, name) as bus:
                await bus.ensure_consumer("cpu", workers=4)

        for index in range(6):
            group.start_soon(start, f"service-{index}")

    async with connect(broker, "late") as bus:
        assert await bus.pending(Stream.RUN, "cpu") == 0
