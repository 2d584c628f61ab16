"""Buckets, watches and leases, on both implementations."""

from collections.abc import AsyncIterator

import anyio
import pytest

from shared.bus.port import Bus, Entry
from shared.contracts.subjects import Bucket

WAIT = 10.0  # [s] longer than anything here takes


async def news(changes: AsyncIterator[Entry], own: str) -> Entry:
    """The next entry that belongs to this test."""
    with anyio.fail_after(WAIT):
        while True:
            entry = await anext(changes)
            if entry.key.startswith(own):
                return entry


async def test_a_value_is_read_back_with_its_revision(bus: Bus, other: Bus, own: str) -> None:
    revision = await bus.put(Bucket.MODELS, own, b"1")

    assert await other.get(Bucket.MODELS, own) == Entry(own, b"1", revision)
    assert await other.get(Bucket.MODELS, f"{own}.other") is None


async def test_a_value_is_swapped_only_at_its_revision(bus: Bus, other: Bus, own: str) -> None:
    created = await bus.swap(Bucket.MODELS, own, b"1", revision=0)
    assert created is not None

    assert await other.swap(Bucket.MODELS, own, b"2", revision=0) is None
    assert await other.swap(Bucket.MODELS, own, b"2", revision=created - 1) is None
    swapped = await other.swap(Bucket.MODELS, own, b"2", revision=created)

    assert swapped is not None
    assert await bus.swap(Bucket.MODELS, own, b"3", revision=created) is None
    assert await bus.get(Bucket.MODELS, own) == Entry(own, b"2", swapped)


async def test_of_many_who_swap_at_once_one_wins(bus: Bus, other: Bus, own: str) -> None:
    won: list[bytes] = []

    async def swap(each: Bus, value: bytes) -> None:
        if await each.swap(Bucket.MODELS, own, value, revision=0) is not None:
            won.append(value)

    async with anyio.create_task_group() as group:
        for index in range(10):
            group.start_soon(swap, (bus, other)[index % 2], b"%d" % index)

    entry = await bus.get(Bucket.MODELS, own)
    assert entry is not None
    assert won == [entry.value]


async def test_a_removed_key_is_absent_and_can_be_created_again(bus: Bus, own: str) -> None:
    await bus.put(Bucket.MODELS, own, b"1")

    assert await bus.remove(Bucket.MODELS, own)

    assert not await bus.remove(Bucket.MODELS, own)
    assert await bus.get(Bucket.MODELS, own) is None
    assert own not in [entry.key for entry in await bus.entries(Bucket.MODELS)]
    assert await bus.swap(Bucket.MODELS, own, b"2", revision=0) is not None


async def test_a_key_that_changed_is_not_removed_at_its_old_revision(bus: Bus, own: str) -> None:
    old = await bus.put(Bucket.MODELS, own, b"1")
    await bus.put(Bucket.MODELS, own, b"2")

    assert not await bus.remove(Bucket.MODELS, own, revision=old)
    assert await bus.get(Bucket.MODELS, own) is not None


async def test_entries_are_the_newest_value_of_every_live_key(bus: Bus, own: str) -> None:
    await bus.put(Bucket.ROUTES, f"model.{own}", b"1")
    second = await bus.put(Bucket.ROUTES, f"model.{own}", b"2")
    third = await bus.put(Bucket.ROUTES, f"device.{own}", b"3")

    entries = [each for each in await bus.entries(Bucket.ROUTES) if own in each.key]

    assert sorted(entries, key=lambda each: each.key) == [
        Entry(f"device.{own}", b"3", third),
        Entry(f"model.{own}", b"2", second),
    ]


@pytest.mark.parametrize("key", ["", "a b", "*", "a.>", ".a", "a.", "a\r\nb", "ä"])
async def test_what_is_not_a_key_is_refused(bus: Bus, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        await bus.put(Bucket.MODELS, key, b"1")


async def test_a_watch_yields_what_is_there_and_then_every_change(
    bus: Bus, other: Bus, own: str
) -> None:
    first = await bus.put(Bucket.MODELS, f"{own}.a", b"1")

    async with other.watch(Bucket.MODELS) as changes:
        assert await news(changes, own) == Entry(f"{own}.a", b"1", first)
        second = await bus.put(Bucket.MODELS, f"{own}.b", b"2")
        assert await news(changes, own) == Entry(f"{own}.b", b"2", second)
        third = await bus.put(Bucket.MODELS, f"{own}.a", b"3")
        assert await news(changes, own) == Entry(f"{own}.a", b"3", third)
        await bus.remove(Bucket.MODELS, f"{own}.a")
        gone = await news(changes, own)
        assert (gone.key, gone.value) == (f"{own}.a", None)


async def test_a_watch_does_not_show_a_refused_swap(bus: Bus, other: Bus, own: str) -> None:
    await bus.put(Bucket.MODELS, own, b"1")

    async with other.watch(Bucket.MODELS) as changes:
        assert (await news(changes, own)).value == b"1"
        assert await bus.swap(Bucket.MODELS, own, b"refused", revision=0) is None
        await bus.put(Bucket.MODELS, own, b"2")
        assert (await news(changes, own)).value == b"2"


async def test_a_slow_watcher_sees_the_newest_value_only(bus: Bus, other: Bus, own: str) -> None:
    async with other.watch(Bucket.MODELS) as changes:
        for value in (b"1", b"2", b"3"):
            await bus.put(Bucket.MODELS, own, value)
        assert (await other.get(Bucket.MODELS, own)) is not None

        assert (await news(changes, own)).value == b"3"


async def test_a_worker_that_stops_reporting_disappears_from_the_watch(
    bus: Bus, other: Bus, own: str
) -> None:
    async with other.watch(Bucket.WORKERS) as changes:
        await bus.put(Bucket.WORKERS, own, b"card")

        assert (await news(changes, own)).value == b"card"
        assert (await news(changes, own)).value is None  # 3 s later, and up to 1 s to notice

    assert await other.get(Bucket.WORKERS, own) is None


async def test_a_lease_is_held_by_one_and_handed_over_when_it_is_given_back(
    bus: Bus, other: Bus, own: str
) -> None:
    order: list[str] = []

    async def second() -> None:
        async with other.lease(own) as lease:
            order.append("second")
            assert lease.held

    async with anyio.create_task_group() as group, bus.lease(own, ttl=1.0) as lease:
        group.start_soon(second)
        with anyio.move_on_after(1.5):  # longer than it lives without renewal
            await lease.lost()
        assert lease.held
        order.append("first")

    assert order == ["first", "second"]


async def test_the_lease_of_a_dead_holder_is_taken_over(bus: Bus, other: Bus, own: str) -> None:
    await bus.swap(Bucket.LEADER, own, b"dead", revision=0, ttl=1.0)

    with anyio.fail_after(WAIT):
        async with other.lease(own) as lease:
            assert lease.held


async def test_a_holder_learns_that_its_lease_was_taken(bus: Bus, other: Bus, own: str) -> None:
    async with bus.lease(own, ttl=1.0) as lease:
        entry = await other.get(Bucket.LEADER, own)
        while entry is not None and not await other.swap(
            Bucket.LEADER, own, b"thief", revision=entry.revision, ttl=5.0
        ):
            entry = await other.get(Bucket.LEADER, own)

        with anyio.fail_after(WAIT):
            await lease.lost()

        assert not lease.held

    entry = await other.get(Bucket.LEADER, own)
    assert entry is not None
    assert entry.value == b"thief"  # not given back on its behalf


async def test_an_error_under_a_lease_comes_out_as_it_is(bus: Bus, other: Bus, own: str) -> None:
    with pytest.raises(KeyError, match="inside"):
        async with bus.lease(own):
            raise KeyError("inside")

    with anyio.fail_after(1.0):
        async with other.lease(own) as lease:
            assert lease.held
