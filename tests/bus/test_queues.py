"""The port, on both implementations: work that is pulled, and results."""

import json

import anyio
import pytest

from shared.bus.port import Bus, Delivery
from shared.bus.topology import MAX_DELIVER, SCHEDULER, TOPOLOGY
from shared.contracts import subjects
from shared.contracts.errors import QueueFull
from shared.contracts.subjects import Stream
from tests.bus.port_house import WAIT, Heard, Start, pull_one, queued

# Pulling


async def test_a_pull_takes_what_is_ready_without_waiting_for_more(bus: Bus, own: str) -> None:
    await queued(bus, own, b"1", b"2")

    with anyio.fail_after(WAIT / 2):
        taken = await bus.puller(Stream.RUN, own).pull(10, wait=WAIT)

    assert [each.data for each in taken] == [b"1", b"2"]
    assert [each.attempts for each in taken] == [1, 1]
    assert taken[0].subject == subjects.run(own, "infer")
    assert taken[0].headers == {"Nats-Msg-Id": f"{own}.0"}


async def test_a_pull_takes_no_more_than_asked_for(bus: Bus, own: str) -> None:
    await queued(bus, own, b"1", b"2", b"3")
    puller = bus.puller(Stream.RUN, own)

    first = await puller.pull(2, wait=WAIT)
    second = await puller.pull(2, wait=WAIT)

    assert [each.data for each in first] == [b"1", b"2"]
    assert [each.data for each in second] == [b"3"]


async def test_a_pull_of_an_empty_queue_ends_after_its_wait(bus: Bus, own: str) -> None:
    await queued(bus, own)
    puller = bus.puller(Stream.RUN, own)

    with anyio.fail_after(WAIT):
        assert await puller.pull(1, wait=0.05) == []
        assert await puller.pull(1, wait=0.0) == []


async def test_a_waiting_pull_returns_when_a_message_comes(bus: Bus, other: Bus, own: str) -> None:
    await queued(bus, own)
    taken: list[Delivery] = []

    async def pull() -> None:
        taken.append(await pull_one(bus, own))

    async with anyio.create_task_group() as group:
        group.start_soon(pull)
        await anyio.lowlevel.checkpoint()
        await queued(other, own, b"1")

    assert [each.data for each in taken] == [b"1"]


async def test_messages_go_to_one_of_the_pullers(bus: Bus, other: Bus, own: str) -> None:
    bodies = [b"%d" % index for index in range(20)]
    await queued(bus, own, *bodies)
    seen: list[bytes] = []

    async def work(worker: Bus) -> None:
        puller = worker.puller(Stream.RUN, own)
        while taken := await puller.pull(1, wait=0.2):
            await taken[0].ack()
            seen.append(taken[0].data)

    async with anyio.create_task_group() as group:
        group.start_soon(work, bus)
        group.start_soon(work, other)

    assert sorted(seen) == sorted(bodies)
    assert await bus.pending(Stream.RUN, own) == 0


async def test_an_acknowledged_message_leaves_the_queue(bus: Bus, own: str) -> None:
    await queued(bus, own, b"1")
    assert await bus.pending(Stream.RUN, own) == 1

    delivery = await pull_one(bus, own)
    assert await bus.pending(Stream.RUN, own) == 1
    await delivery.ack()

    assert await bus.pending(Stream.RUN, own) == 0
    assert await bus.message(Stream.RUN, delivery.sequence) is None


async def test_a_message_given_back_comes_again_at_once_and_counts_attempts(
    bus: Bus, other: Bus, own: str
) -> None:
    await queued(bus, own, b"1")

    await (await pull_one(bus, own)).nak()
    again = await pull_one(other, own, wait=0.5)

    assert (again.data, again.attempts) == (b"1", 2)


async def test_a_message_given_back_with_a_delay_comes_after_it(bus: Bus, own: str) -> None:
    await queued(bus, own, b"1")
    puller = bus.puller(Stream.RUN, own)

    await (await pull_one(bus, own)).nak(delay=0.4)

    assert await puller.pull(1, wait=0.1) == []
    assert [each.attempts for each in await puller.pull(1, wait=WAIT)] == [2]


async def test_a_message_that_is_not_acknowledged_in_time_comes_again(
    bus: Bus, other: Bus, own: str
) -> None:
    await queued(bus, own, b"1")
    first = await pull_one(bus, own)

    again = await pull_one(other, own)
    await first.ack()  # late: accepted, so the result must be what fences

    assert (first.attempts, again.attempts) == (1, 2)
    assert await bus.pending(Stream.RUN, own) == 0


async def test_a_message_in_progress_does_not_come_again(bus: Bus, own: str) -> None:
    await queued(bus, own, b"1")
    delivery = await pull_one(bus, own)
    puller = bus.puller(Stream.RUN, own)

    for _ in range(4):  # 1.6 s in all, past the ack wait of 1 s
        await delivery.in_progress()
        assert await puller.pull(1, wait=0.4) == []


async def test_a_terminated_message_never_comes_again_and_the_advisory_says_why(
    bus: Bus, own: str
) -> None:
    await queued(bus, own, b"1")

    await (await pull_one(bus, own)).term("the digest is wrong")

    assert await bus.puller(Stream.RUN, own).pull(1, wait=0.05) == []
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.EL_RUN.{own}"
    [advisory] = await bus.history(Stream.ADVISORIES, subject)
    assert json.loads(advisory.data)["reason"] == "the digest is wrong"


async def test_a_message_is_given_up_after_the_last_attempt_and_stays_stored(
    bus: Bus, own: str
) -> None:
    await queued(bus, own, b"1")
    puller = bus.puller(Stream.RUN, own)

    attempts = []
    for _ in range(MAX_DELIVER):
        delivery = await pull_one(bus, own)
        attempts.append(delivery.attempts)
        await delivery.nak()

    assert attempts == [1, 2, 3, 4]
    assert await puller.pull(1, wait=0.1) == []
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EL_RUN.{own}"
    [advisory] = await bus.history(Stream.ADVISORIES, subject)
    assert json.loads(advisory.data)["stream_seq"] == delivery.sequence
    assert await bus.message(Stream.RUN, delivery.sequence) is not None


async def test_a_cancelled_pull_leaves_nothing_behind(bus: Bus, other: Bus, own: str) -> None:
    await queued(bus, own)
    puller = bus.puller(Stream.RUN, own)

    with anyio.move_on_after(0.05) as scope:
        await puller.pull(1, wait=WAIT)
    await queued(other, own, b"1")
    delivery = await pull_one(other, own, wait=0.5)

    assert scope.cancelled_caught
    assert delivery.attempts == 1


async def test_two_classes_have_queues_of_their_own(bus: Bus, own: str) -> None:
    await queued(bus, f"{own}-a", b"a")
    await queued(bus, f"{own}-b", b"b")

    assert (await pull_one(bus, f"{own}-b")).data == b"b"
    assert (await pull_one(bus, f"{own}-a")).data == b"a"


async def test_the_scheduler_pulls_what_tenants_publish(bus: Bus, own: str) -> None:
    await bus.publish_once(subjects.job(own, "infer"), b"job", message_id=own)

    taken = await bus.puller(Stream.JOBS, SCHEDULER).pull(100, wait=WAIT)

    assert subjects.job(own, "infer") in [each.subject for each in taken]
    for each in taken:
        await each.ack()


# Results and full streams


async def test_the_first_result_stands_and_is_announced_once(
    bus: Bus, other: Bus, own: str
) -> None:
    done = Heard()
    await bus.subscribe(f"el.v1.done.{own}.*", done)

    first = await bus.write_result(subjects.result(own, "job"), b"first")
    second = await other.write_result(subjects.result(own, "job"), b"second")
    await other.write_result(subjects.result(own, "next"), b"next")

    assert (first, second) == (True, False)
    stored = await other.last(Stream.RESULTS, subjects.result(own, "job"))
    assert stored is not None
    assert stored.data == b"first"
    assert await done.count(2) == [b"first", b"next"]
    assert done.messages[0].subject == subjects.done(own, "job")


async def test_a_full_result_stream_is_told_from_a_result_that_is_there(
    start: Start, own: str
) -> None:
    connect = start(TOPOLOGY.with_stream(Stream.RESULTS, max_messages=1))
    async with connect("worker") as bus:
        await bus.write_result(subjects.result(own, "1"), b"1")

        with pytest.raises(QueueFull, match="maximum"):
            await bus.write_result(subjects.result(own, "2"), b"2")
        assert not await bus.write_result(subjects.result(own, "1"), b"other")


async def test_a_full_queue_refuses_and_takes_again_when_one_is_done(
    start: Start, own: str
) -> None:
    connect = start(TOPOLOGY.with_stream(Stream.RUN, max_messages=2))
    async with connect("scheduler") as bus:
        await queued(bus, own, b"1", b"2")

        with pytest.raises(QueueFull):
            await bus.publish_once(subjects.run(own, "infer"), b"3", message_id="3")
        await (await pull_one(bus, own)).ack()
        await bus.publish_once(subjects.run(own, "infer"), b"3", message_id="3")

        assert await bus.pending(Stream.RUN, own) == 2


async def test_a_tenant_with_a_full_queue_does_not_shut_out_another(start: Start, own: str) -> None:
    connect = start(TOPOLOGY.with_stream(Stream.JOBS, max_per_subject=1))
    async with connect("client") as bus:
        await bus.publish_once(subjects.job("greedy", "infer"), b"1", message_id="1")

        with pytest.raises(QueueFull, match="per subject"):
            await bus.publish_once(subjects.job("greedy", "infer"), b"2", message_id="2")
        receipt = await bus.publish_once(subjects.job("modest", "infer"), b"3", message_id="3")

        assert not receipt.duplicate
