"""The port, on both implementations: core messages, and stored ones."""

import anyio
import pytest

from shared.bus.port import Bus, Inbound
from shared.contracts import subjects
from shared.contracts.errors import DeadlineExceeded, NoWorker, TooLarge
from shared.contracts.subjects import Stream
from tests.bus.port_house import WAIT, Heard

# Core messages


async def test_a_message_reaches_every_subscriber_and_one_of_each_queue_group(
    bus: Bus, other: Bus, own: str
) -> None:
    plain, also_plain, grouped = Heard(), Heard(), Heard()
    await bus.subscribe(f"{own}.a", plain)
    await other.subscribe(f"{own}.*", also_plain)
    await bus.subscribe(f"{own}.a", grouped, queue="workers")
    await other.subscribe(f"{own}.a", grouped, queue="workers")

    for body in (b"1", b"2", b"3"):
        await bus.publish(f"{own}.a", body)

    assert await plain.count(3) == [b"1", b"2", b"3"]
    assert await also_plain.count(3) == [b"1", b"2", b"3"]
    assert sorted(await grouped.count(3)) == [b"1", b"2", b"3"]


async def test_headers_travel_with_a_message(bus: Bus, other: Bus, own: str) -> None:
    heard = Heard()
    await other.subscribe(own, heard)

    await bus.publish(own, b"", {"El-Kind": "infer"})

    await heard.count(1)
    assert heard.messages[0].headers == {"El-Kind": "infer"}


async def test_a_stopped_subscription_hears_no_more(bus: Bus, own: str) -> None:
    stopped, live = Heard(), Heard()
    subscription = await bus.subscribe(own, stopped)
    await bus.subscribe(own, live)

    await subscription.stop()
    await bus.publish(own, b"1")

    assert await live.count(1) == [b"1"]
    assert stopped.messages == []


async def test_a_request_is_answered_by_one_of_a_queue_group(
    bus: Bus, other: Bus, own: str
) -> None:
    async with anyio.create_task_group() as group:

        def answer(message: Inbound) -> None:
            group.start_soon(other.publish, message.reply, message.data * 2)

        await other.subscribe(own, answer, queue="workers")
        await other.subscribe(own, answer, queue="workers")

        replies = [await bus.request(own, body, timeout=WAIT) for body in (b"1", b"2", b"3")]

    assert replies == [b"11", b"22", b"33"]


async def test_a_request_that_nobody_listens_for_fails_at_once(bus: Bus, own: str) -> None:
    with anyio.fail_after(WAIT / 2), pytest.raises(NoWorker, match=own):
        await bus.request(own, b"", timeout=WAIT)


async def test_a_request_that_is_not_answered_fails_at_its_deadline(
    bus: Bus, other: Bus, own: str
) -> None:
    await other.subscribe(own, Heard())

    with pytest.raises(DeadlineExceeded, match=r"0\.050 s"):
        await bus.request(own, b"", timeout=0.05)


async def test_a_cancelled_request_leaves_the_connection_usable(
    bus: Bus, other: Bus, own: str
) -> None:
    await other.subscribe(f"{own}.silent", Heard())
    heard = Heard()
    await other.subscribe(f"{own}.after", heard)

    with anyio.move_on_after(0.02) as scope:
        await bus.request(f"{own}.silent", b"", timeout=WAIT)
    await bus.publish(f"{own}.after", b"1")

    assert scope.cancelled_caught
    assert await heard.count(1) == [b"1"]


async def test_a_message_over_the_servers_limit_is_refused_and_the_connection_lives_on(
    bus: Bus, own: str
) -> None:
    heard = Heard()
    await bus.subscribe(own, heard)
    most = 8 * 2**20 - 64 * 2**10  # max_payload less what headers may need

    with pytest.raises(TooLarge, match=str(most + 1)):
        await bus.publish(own, bytes(most + 1))
    with pytest.raises(TooLarge):
        await bus.publish(own, bytes(most), {"El-Kind": "infer"})
    with pytest.raises(TooLarge):
        await bus.request(own, bytes(8 * 2**20), timeout=WAIT)
    await bus.publish(own, bytes(most))

    assert [len(body) for body in await heard.count(1)] == [most]


@pytest.mark.parametrize("subject", ["", "a b", "a..b", ".a", "a\r\nPUB x 0"])
async def test_what_is_not_a_subject_cannot_be_subscribed_to(bus: Bus, subject: str) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        await bus.subscribe(subject, Heard())


# Stored messages


async def test_a_message_published_twice_under_one_id_is_stored_once(
    bus: Bus, other: Bus, own: str
) -> None:
    subject = subjects.audit("tenant", own, "accepted")

    first = await bus.publish_once(subject, b"1", message_id=own)
    again = await other.publish_once(subject, b"1", message_id=own)

    assert not first.duplicate
    assert again.duplicate
    assert again.sequence == first.sequence
    assert [each.data for each in await bus.history(Stream.AUDIT, subject)] == [b"1"]


async def test_a_stored_message_is_read_back_with_its_headers(bus: Bus, own: str) -> None:
    subject = subjects.audit("tenant", own, "accepted")

    receipt = await bus.publish_once(subject, b"1", message_id=own, headers={"El-Kind": "infer"})

    stored = await bus.last(Stream.AUDIT, subject)
    assert stored is not None
    assert (stored.subject, stored.data, stored.sequence) == (subject, b"1", receipt.sequence)
    assert stored.headers == {"El-Kind": "infer", "Nats-Msg-Id": own}
    assert await bus.message(Stream.AUDIT, receipt.sequence) == stored


async def test_history_reads_more_than_one_page_in_order_and_stops_at_its_limit(
    bus: Bus, own: str
) -> None:
    bodies = [b"%d" % index for index in range(300)]
    async with anyio.create_task_group() as group:
        for body in bodies[:-1]:
            subject = subjects.audit("tenant", own, "progress")
            group.start_soon(bus.publish, subject, body)
    await bus.publish_once(subjects.audit("tenant", own, "ended"), bodies[-1], message_id=own)

    found = await bus.history(Stream.AUDIT, f"el.v1.audit.tenant.{own}.*")
    few = await bus.history(Stream.AUDIT, f"el.v1.audit.tenant.{own}.*", limit=3)

    assert [each.data for each in found] == bodies
    assert [each.data for each in few] == bodies[:3]
    assert [each.sequence for each in found] == sorted(each.sequence for each in found)


async def test_a_subject_without_messages_has_no_last_message_and_no_history(
    bus: Bus, own: str
) -> None:
    assert await bus.last(Stream.RESULTS, subjects.result("tenant", own)) is None
    assert await bus.history(Stream.RESULTS, f"el.v1.res.{own}.*") == []


async def test_a_deleted_message_is_gone(bus: Bus, own: str) -> None:
    subject = subjects.audit("tenant", own, "accepted")
    receipt = await bus.publish_once(subject, b"1", message_id=own)

    assert await bus.delete(Stream.AUDIT, receipt.sequence)

    assert not await bus.delete(Stream.AUDIT, receipt.sequence)
    assert await bus.message(Stream.AUDIT, receipt.sequence) is None
    assert await bus.last(Stream.AUDIT, subject) is None


async def test_a_message_over_the_streams_limit_is_refused(bus: Bus, own: str) -> None:
    with pytest.raises(TooLarge):
        await bus.publish_once(subjects.job(own, "infer"), bytes(600 * 2**10), message_id=own)
