"""The device's memory, counted: blocks up to a cap, idle ones kept for the next of their size."""

from dataclasses import dataclass

import pyopencl as cl

from services.gpu_worker.device import Device, trouble
from shared.contracts.errors import DeviceFailed

GRANULE = 256  # [bytes] buffers are made in multiples of this, the card's base alignment
IDLE_SHARE = 8  # an eighth of the memory may lie idle, waiting for the next tensor of its size


class OutOfDeviceMemory(DeviceFailed):
    """A tensor does not fit beside those that are resident."""

    fix = "release a model, send smaller batches, or raise ELLESMERE_DEVICE_MEMORY"


@dataclass(slots=True, eq=False)
class Block:
    """One buffer and how many tensors read it; a reshaped tensor shares its source's block.

    The events stay with the buffer also while it lies idle: whoever gets it next must not overtake
    what the other queue still does to it.
    """

    buffer: cl.Buffer
    nbytes: int
    holders: int = 1
    computed: cl.Event | None = None  # the last computation that may touch it, unless waited for
    moved: cl.Event | None = None  # the last transfer, unless the computations wait for it


class Memory:
    """Hands out blocks and knows how many bytes are held.

    Blocks that fall free are kept for the next tensor of their size, up to a share of the cap.
    """

    def __init__(self, device: Device) -> None:
        self.used = 0  # [bytes] held by tensors
        self.idle = 0  # [bytes] kept for reuse
        self.capacity = device.limits.memory_bytes
        self._device = device
        self._free: dict[int, list[Block]] = {}

    def allocate(self, nbytes: int) -> Block:
        """A block of at least `nbytes`, contents undefined.

        Raises:
            LimitExceeded: one buffer cannot be that large.
            OutOfDeviceMemory: the cap is reached, or the driver has no more.
        """
        size = whole(nbytes)
        self._device.limits.check_buffer(size)
        if self.shortage(nbytes):
            raise self.full(nbytes)
        block = self._reuse(size) or Block(self._make(size), size)
        self.used += size
        return block

    def shortage(self, nbytes: int) -> int:
        """Bytes that must fall free before a block of `nbytes` has room; 0 when it has."""
        return max(self.used + whole(nbytes) - self.capacity, 0)

    def full(self, nbytes: int) -> OutOfDeviceMemory:
        """Why `nbytes` have no room, with the numbers."""
        return OutOfDeviceMemory(
            f"{nbytes} bytes do not fit: {self.used} of {self.capacity} are in use "
            f"on {self._device.name}"
        )

    def release(self, block: Block) -> None:
        """One holder less; the last one frees the block."""
        block.holders -= 1
        if block.holders == 0:
            self.used -= block.nbytes
            self._keep(block)

    def trim(self) -> None:
        """Give every idle buffer back to the driver."""
        for blocks in self._free.values():
            for block in blocks:
                block.buffer.release()
        self._free.clear()
        self.idle = 0

    def _reuse(self, size: int) -> Block | None:
        waiting = self._free.get(size)
        if not waiting:
            return None
        self.idle -= size
        block = waiting.pop()
        block.holders = 1
        return block

    def _keep(self, block: Block) -> None:
        if self.idle + block.nbytes > self.capacity // IDLE_SHARE:
            with trouble(f"freeing {block.nbytes} bytes"):
                block.buffer.release()
            return
        self._free.setdefault(block.nbytes, []).append(block)
        self.idle += block.nbytes

    def _make(self, size: int) -> cl.Buffer:
        if self.used + self.idle + size > self.capacity:
            self.trim()
        flags = cl.mem_flags.READ_WRITE
        try:
            return cl.Buffer(self._device.context, flags, size)
        except cl.Error:
            self.trim()  # what lies idle may be what is missing,
            self._device.finish()  # or what work in flight still holds
        try:
            return cl.Buffer(self._device.context, flags, size)
        except cl.Error as error:
            raise OutOfDeviceMemory(
                f"{self._device.name} has no {size} bytes left beside the {self.used} in use: "
                f"{error}"
            ) from error


def whole(nbytes: int) -> int:
    """The size of the block that holds `nbytes`."""
    return max(-(-nbytes // GRANULE), 1) * GRANULE
