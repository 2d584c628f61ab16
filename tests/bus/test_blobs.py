"""Blobs, on both implementations."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import numpy as np
import pytest

from shared.bus.port import PART_BYTES, Bus
from shared.bus.topology import TOPOLOGY, Topology
from shared.contracts import subjects
from shared.contracts.errors import BlobMissing, QueueFull
from shared.contracts.subjects import Stream
from shared.contracts.v1.jobs import BlobRef

Start = Callable[[Topology], Callable[[str], AbstractAsyncContextManager[Bus]]]


def random_bytes(count: int) -> bytes:
    """Bytes that no other test stores: blobs are shared by content."""
    return np.random.default_rng().bytes(count)


async def part(bus: Bus, ref: BlobRef, index: int = 0) -> dict[str, str]:
    """The headers of a stored part."""
    stored = await bus.last(Stream.BLOBS, subjects.blob(ref.sha256, index))
    assert stored is not None
    return dict(stored.headers)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES + 7])
async def test_a_blob_is_read_back_as_it_was_stored(bus: Bus, other: Bus, size: int) -> None:
    content = random_bytes(size)

    ref = await bus.put_blob(content)

    assert ref.size == size
    assert await other.get_blob(ref) == content


async def test_a_blob_has_a_part_of_four_mebibytes_per_message(bus: Bus) -> None:
    content = random_bytes(2 * PART_BYTES + 1)

    ref = await bus.put_blob(content)

    found = await bus.history(Stream.BLOBS, f"el.v1.blob.{ref.sha256}.*")
    sizes = {each.subject: len(each.data) for each in found}
    assert sizes == {
        subjects.blob(ref.sha256, 0): PART_BYTES,
        subjects.blob(ref.sha256, 1): PART_BYTES,
        subjects.blob(ref.sha256, 2): 1,
    }


async def test_the_same_bytes_are_stored_once(bus: Bus, other: Bus) -> None:
    content = random_bytes(100)
    ref = await bus.put_blob(content)
    before = await bus.last(Stream.BLOBS, subjects.blob(ref.sha256, 0))

    assert await other.put_blob(content) == ref

    assert await bus.last(Stream.BLOBS, subjects.blob(ref.sha256, 0)) == before


async def test_a_missing_part_is_named(bus: Bus) -> None:
    ref = await bus.put_blob(random_bytes(PART_BYTES + 1))
    stored = await bus.last(Stream.BLOBS, subjects.blob(ref.sha256, 1))
    assert stored is not None
    await bus.delete(Stream.BLOBS, stored.sequence)

    with pytest.raises(BlobMissing, match="part 2 of 2"):
        await bus.get_blob(ref)


@pytest.mark.parametrize("instead", [b"", b"short", bytes(100)])
async def test_a_corrupted_blob_is_not_returned_and_storing_it_again_heals_it(
    bus: Bus, instead: bytes
) -> None:
    content = random_bytes(100)
    ref = await bus.put_blob(content)
    await bus.publish_once(subjects.blob(ref.sha256, 0), instead, message_id=ref.sha256)

    with pytest.raises(BlobMissing, match="do not match"):
        await bus.get_blob(ref)
    await bus.put_blob(content)

    assert await bus.get_blob(ref) == content


async def test_a_blob_expires_after_a_day_unless_it_is_kept(bus: Bus) -> None:
    passing = await bus.put_blob(random_bytes(10))
    kept = await bus.put_blob(random_bytes(10), keep=True)

    assert (await part(bus, passing))["Nats-TTL"] == "86400"
    assert "Nats-TTL" not in await part(bus, kept)


async def test_a_blob_that_is_kept_later_stays(bus: Bus) -> None:
    content = random_bytes(10)
    ref = await bus.put_blob(content)

    await bus.put_blob(content, keep=True)
    await bus.put_blob(content)

    assert "Nats-TTL" not in await part(bus, ref)
    assert await bus.get_blob(ref) == content


async def test_a_blob_that_expires_soon_is_stored_anew(bus: Bus) -> None:
    content = random_bytes(10)
    ref = await bus.put_blob(content)
    old = {"Nats-TTL": "86400", "El-Stored-At": "1000000000"}  # in 2001
    subject = subjects.blob(ref.sha256, 0)
    aged = await bus.publish_once(subject, content, message_id=ref.sha256, headers=old)

    await bus.put_blob(content)

    stored = await bus.last(Stream.BLOBS, subject)
    assert stored is not None
    assert stored.sequence > aged.sequence
    assert stored.headers["El-Stored-At"] != old["El-Stored-At"]


async def test_a_deleted_blob_is_gone_and_can_be_stored_again(bus: Bus) -> None:
    content = random_bytes(PART_BYTES + 1)
    ref = await bus.put_blob(content, keep=True)

    await bus.delete_blob(ref)
    await bus.delete_blob(ref)

    with pytest.raises(BlobMissing):
        await bus.get_blob(ref)
    assert await bus.put_blob(content) == ref
    assert await bus.get_blob(ref) == content


async def test_a_blob_that_does_not_fit_is_refused(start: Start) -> None:
    connect = start(TOPOLOGY.with_stream(Stream.BLOBS, max_bytes=2 * PART_BYTES))
    async with connect("client") as bus:
        with pytest.raises(QueueFull):
            await bus.put_blob(random_bytes(3 * PART_BYTES))
