"""Large bytes in parts, named by their digest, over any implementation of the port.

The object store of the client library reads ten times slower and hangs on a missing chunk, so
parts are plain messages of a stream: one subject each, read by direct get.
"""

import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread

from shared.bus.port import PART_BYTES, Bus, Stored
from shared.contracts import subjects
from shared.contracts.errors import BlobMissing
from shared.contracts.subjects import Stream
from shared.contracts.v1.jobs import BlobRef

TTL_SECONDS = 86_400
TTL, STORED_AT = "Nats-TTL", "El-Stored-At"
WINDOW = 4  # parts in flight, 16 MiB: below what the server lets wait per connection
HASH_INLINE_BYTES = 2**20  # a longer hash (over 1 ms) runs in a thread


async def put(bus: Bus, data: bytes, *, keep: bool) -> BlobRef:
    """Store what is not there yet; see port.Bus.put_blob."""
    ref = BlobRef(sha256=await _digest(data), size=len(data))
    view = memoryview(data)

    async def store(index: int) -> None:
        part = bytes(view[index * PART_BYTES : (index + 1) * PART_BYTES])
        await _put_part(bus, subjects.blob(ref.sha256, index), part, keep=keep)

    await _each(range(_count(ref)), store)
    return ref


async def get(bus: Bus, ref: BlobRef) -> bytes:
    """Read and verify; see port.Bus.get_blob."""
    parts: list[bytes] = [b""] * _count(ref)

    async def load(index: int) -> None:
        stored = await bus.last(Stream.BLOBS, subjects.blob(ref.sha256, index))
        if stored is None:
            where = f"part {index + 1} of {len(parts)} of blob {ref.sha256}"
            raise BlobMissing(f"{where} is not stored")
        parts[index] = stored.data

    await _each(range(len(parts)), load)
    data = b"".join(parts)
    if len(data) != ref.size or await _digest(data) != ref.sha256:
        raise BlobMissing(f"blob {ref.sha256}: its {len(data)} stored bytes do not match")
    return data


async def delete(bus: Bus, ref: BlobRef) -> None:
    """Remove all parts."""

    async def drop(index: int) -> None:
        stored = await bus.last(Stream.BLOBS, subjects.blob(ref.sha256, index))
        if stored is not None:
            await bus.delete(Stream.BLOBS, stored.sequence)

    await _each(range(_count(ref)), drop)


async def _put_part(bus: Bus, subject: str, part: bytes, *, keep: bool) -> None:
    stored = await bus.last(Stream.BLOBS, subject)
    if stored is not None and stored.data == part and _lasts(stored, keep=keep):
        return
    headers = {STORED_AT: str(int(time.time()))}
    if not keep:
        headers[TTL] = str(TTL_SECONDS)
    # A new id each time: within the window an old one would count as stored although deleted.
    await bus.publish_once(subject, part, message_id=uuid.uuid4().hex, headers=headers)


def _lasts(stored: Stored, *, keep: bool) -> bool:
    """Whether a stored part lives long enough: for ever, or for more than half the usual time."""
    if TTL not in stored.headers:
        return True
    age = time.time() - float(stored.headers.get(STORED_AT, "0"))
    return not keep and age < TTL_SECONDS / 2


def _count(ref: BlobRef) -> int:
    return -(-ref.size // PART_BYTES)


async def _digest(data: bytes) -> str:
    if len(data) <= HASH_INLINE_BYTES:
        return hashlib.sha256(data).hexdigest()
    return await anyio.to_thread.run_sync(lambda: hashlib.sha256(data).hexdigest())


async def _each(items: Sequence[int], work: Callable[[int], Awaitable[None]]) -> None:
    """Do all, a few at a time; the first failure ends the rest and is raised as it is."""
    room = anyio.Semaphore(WINDOW)
    failures: list[Exception] = []

    async def one(item: int) -> None:
        async with room:
            try:
                await work(item)
            except Exception as error:  # carried out of the task group, raised below
                failures.append(error)
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for item in items:
            group.start_soon(one, item)
    if failures:
        raise failures[0]
