"""Transfers with the host: a queue of their own, through pinned memory where that pays.

A card reads and writes pinned memory by itself while it computes, so arrays pass through a ring of
it and `write` returns before they have arrived. A device whose memory is the host's would only copy
twice: there an array is copied as it is.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyopencl as cl

from services.gpu_worker.device import TROUBLE, Device, trouble
from services.gpu_worker.memory import Block
from shared.tensors.dtypes import U8, Array

RING = 16 * 2**20  # [bytes] of pinned memory
CHUNKS = 4  # of a ring: one is filled, two travel, and the end of the ring may go unused
SAMPLE = 64 * 1024  # [bytes] an upload must have to tell the bandwidth and not the latency
BANDWIDTH = 5.3e9  # [bytes/s] before the first: pageable memory on an old card's slower way
NEWEST = 0.2  # weight of the latest sample in the mean


class Pair(NamedTuple):
    """A block, and the contiguous array that goes to its start or comes from there."""

    block: Block
    array: Array


class Ring:
    """Host memory handed out in turn; a stretch is used again when its transfer has finished."""

    def __init__(self, memory: U8) -> None:
        """`memory`: (bytes,) uint8, pinned or not."""
        self.chunk = memory.size // CHUNKS
        self._memory = memory
        self._head = 0
        self._travelling: deque[tuple[int, int, cl.Event]] = deque()

    def take(self, nbytes: int) -> U8:
        """The next `nbytes`, at most a chunk; waits until nothing else travels there."""
        start = self._head if self._head + nbytes <= self._memory.size else 0
        end = self._head = start + nbytes
        while any(start < until and at < end for at, until, _ in self._travelling):
            self._travelling.popleft()[2].wait()
        return self._memory[start:end]

    def sent(self, nbytes: int, event: cl.Event) -> None:
        """The `nbytes` taken last are in use until `event`."""
        self._travelling.append((self._head - nbytes, self._head, event))


class Transfers:
    """Copies between host arrays and blocks, counted and timed.

    A copy waits for the computations that may touch its block. Computations wait for a copy from
    the moment that `settle` is told of the block.
    """

    def __init__(self, device: Device) -> None:
        self.bytes_up = 0
        self.bytes_down = 0
        self.bandwidth = BANDWIDTH  # [bytes/s] of the way up
        self._device = device
        self._ring = _pinned(device)
        self._up: list[cl.Event] = []  # copies of the last upload and download
        self._down: list[cl.Event] = []
        self._sample = 0  # [bytes] of the last upload, when they were not looked at yet

    @property
    def staged(self) -> bool:
        """Whether arrays pass through pinned memory."""
        return self._ring is not None

    @property
    def upload_seconds(self) -> float:
        """Time of the last upload by the device's clock [s]; waits for its end."""
        return _seconds(self._up)

    @property
    def download_seconds(self) -> float:
        """The same of the last download."""
        return _seconds(self._down)

    def write(self, pairs: Iterable[Pair]) -> None:
        """Copy arrays to the device; they may be reused at once.

        Raises:
            DeviceFailed: the device refuses, or work before it broke.
        """
        filled = [pair for pair in pairs if pair.array.size]
        with trouble(f"a transfer to {self._device.name}"):
            self._learn()
            self._up = [event for pair in filled for event in self._write(pair)]
        self._sample = sum(pair.array.nbytes for pair in filled)
        self.bytes_up += self._sample

    def read(self, pairs: Iterable[Pair]) -> None:
        """Fill arrays from the device; raises like `write`."""
        filled = [pair for pair in pairs if pair.array.size]
        with trouble(f"a transfer from {self._device.name}"):
            self._down = [event for pair in filled for event in self._read(pair)]
        self.bytes_down += sum(pair.array.nbytes for pair in filled)

    def settle(self, blocks: Iterable[Block]) -> None:
        """Let the computations enqueued from now on wait for what still moves in some blocks."""
        events = []
        for block in blocks:
            if block.moved is not None:
                events.append(block.moved)
                block.moved = None
        if events:
            with trouble(f"ordering the queues of {self._device.name}"):
                cl.enqueue_barrier(self._device.queue, wait_for=events)

    def _write(self, pair: Pair) -> Iterator[cl.Event]:
        (block, array), queue, ring = pair, self._device.transfer, self._ring
        before = self._before(block)
        if ring is None:
            yield _over(cl.enqueue_copy(queue, block.buffer, array, wait_for=before))
            block.computed = None
            return
        for at, part in _chunks(array, ring.chunk):
            stretch = ring.take(part.size)
            stretch[:] = part
            block.moved = cl.enqueue_copy(
                queue, block.buffer, stretch, dst_offset=at, is_blocking=False, wait_for=before
            )
            ring.sent(part.size, block.moved)
            queue.flush()
            block.computed, before = None, []
            yield block.moved

    def _read(self, pair: Pair) -> Iterator[cl.Event]:
        (block, array), queue, ring = pair, self._device.transfer, self._ring
        before = self._before(block)
        if ring is None:
            yield _over(cl.enqueue_copy(queue, array, block.buffer, wait_for=before))
            block.computed = None
            return
        coming: deque[tuple[U8, U8, cl.Event]] = deque()
        for at, part in _chunks(array, ring.chunk):
            if len(coming) == CHUNKS // 2:
                yield _arrived(*coming.popleft())
            stretch = ring.take(part.size)
            event = cl.enqueue_copy(
                queue, stretch, block.buffer, src_offset=at, is_blocking=False, wait_for=before
            )
            ring.sent(part.size, event)
            queue.flush()
            coming.append((part, stretch, event))
        for one in coming:
            yield _arrived(*one)
        block.computed = None

    def _before(self, block: Block) -> list[cl.Event]:
        """What a copy of the block has to wait for."""
        if block.computed is None:
            return []
        self._device.queue.flush()
        return [block.computed]

    def _learn(self) -> None:
        """Take the last upload into the mean, once it has finished."""
        if self._sample < SAMPLE or not all(_finished(event) for event in self._up):
            return
        seconds, moved, self._sample = _seconds(self._up), self._sample, 0
        if seconds > 0.0:
            self.bandwidth += NEWEST * (moved / seconds - self.bandwidth)


def _pinned(device: Device) -> Ring | None:
    """A ring that the device reads and writes by itself; None where it would not help or the
    driver has none to give."""
    if device.unified:
        return None
    access = cl.mem_flags.READ_WRITE | cl.mem_flags.ALLOC_HOST_PTR
    both: Any = cl.map_flags.READ | cl.map_flags.WRITE  # the stubs know no combination
    try:
        buffer = cl.Buffer(device.context, access, RING)
        mapped, _ = cl.enqueue_map_buffer(
            device.transfer, buffer, both, 0, (RING,), np.dtype(np.uint8)
        )
    except TROUBLE:
        return None
    return Ring(mapped)


def _chunks(array: Array, size: int) -> Iterator[tuple[int, U8]]:
    """The bytes of an array in pieces, each with its offset."""
    flat = array.reshape(-1).view(np.uint8)
    for at in range(0, flat.size, size):
        yield at, flat[at : at + size]


def _arrived(target: U8, stretch: U8, event: cl.Event) -> cl.Event:
    event.wait()
    target[:] = stretch
    return event


def _over(event: cl.Event) -> cl.Event:
    """A finished copy that no longer holds on to its array."""
    event.wait()
    return event


def _finished(event: cl.Event) -> bool:
    status: int = event.command_execution_status
    return status == cl.command_execution_status.COMPLETE


def _seconds(events: Iterable[cl.Event]) -> float:
    """Time of copies together, by the device's clock."""
    total = 0.0
    for event in events:
        event.wait()
        total += (event.profile.end - event.profile.start) * 1e-9
    return total
