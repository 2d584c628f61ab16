"""Tensors brought to the device and back, and out of the way when room is needed.

An uploaded tensor may leave while no call reads it, and comes back when one does. What a call has
made stays until it is released.
"""

from collections.abc import Collection, Iterable
from math import prod

import numpy as np

from services.gpu_worker import laid_out, pieces
from services.gpu_worker.device import Device
from services.gpu_worker.memory import GRANULE, Block, Memory, OutOfDeviceMemory, whole
from services.gpu_worker.resident import DeviceTensor, Part, Piece
from services.gpu_worker.shelf import Shelf, Traffic
from services.gpu_worker.staging import Pair, Transfers
from shared.placement import residency as decisions
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType
from shared.tensors.packing import WORD_BITS


class Residency:
    """Makes, fills, reads and frees tensors in device memory."""

    def __init__(self, device: Device) -> None:
        self.memory = Memory(device)
        self.transfers = Transfers(device)
        self._device = device
        self._shelf = Shelf()
        self._known: dict[int, DeviceTensor] = {}  # by key

    @property
    def traffic(self) -> Traffic:
        """What was moved so far, and why."""
        shelf, moved = self._shelf, self.transfers
        counted = (shelf.hits, shelf.misses, shelf.evictions)
        return Traffic(*counted, moved.bytes_up, moved.bytes_down, shelf.bytes_again)

    def empty(self, kind: TensorType) -> DeviceTensor:
        """A dense tensor, or spike bits, of the given type in one buffer, contents undefined.

        Raises:
            LimitExceeded: it is larger than one buffer may be, or than a kernel can number.
            OutOfDeviceMemory: there is no room beside what cannot leave.
        """
        name, dtype, shape = "values", kind.dtype, tuple(size or 0 for size in kind.shape)
        if kind.layout is Layout.SPIKE_BITS:
            name, dtype = "words", Dtype.U32
            shape = (*shape[:-1], -(-shape[-1] // WORD_BITS))
        count = prod(shape)
        self._device.limits.check_elements(count)
        block = self.room(count * dtype.itemsize)
        return DeviceTensor(kind, {name: Part(block, dtype.numpy, shape)})

    def room(self, nbytes: int) -> Block:
        """A block that computations may write to at once; raises like `empty`."""
        block = self._block(nbytes)
        if block.moved is not None:
            self.transfers.settle([block])
        return block

    def view(self, tensor: DeviceTensor, kind: TensorType) -> DeviceTensor:
        """The same bytes of a dense tensor under another shape, without a copy."""
        tensor.buffer()  # refuses a released tensor
        part = tensor.parts["values"]
        part.block.holders += 1
        shape = tuple(size or 0 for size in kind.shape)
        return DeviceTensor(kind, {"values": Part(part.block, part.dtype, shape)})

    def upload(self, tensor: Tensor) -> DeviceTensor:
        """Copy a tensor to the device; raises like `empty`. Its arrays may be reused at once."""
        for part in tensor.parts.values():  # the zeros of a sparse tensor are not numbered
            self._device.limits.check_elements(part.size)
        source = tensor if all(map(_lasting, tensor.parts.values())) else None
        made = DeviceTensor(tensor.type, {}, source=source)
        self._fill(made, tensor)
        made.key = self._shelf.put(sum(b.nbytes for b in made.blocks()), self._cost(made))
        self._known[made.key] = made
        return made

    def download(self, tensor: DeviceTensor) -> Tensor:
        """Copy a tensor back to host memory, after the calls that make it."""
        if tensor.released:
            tensor.buffer()  # refuses it
        if not tensor.there and tensor.source is not None:
            return tensor.source
        return self._read(tensor)

    def release(self, tensor: DeviceTensor) -> None:
        """Free a tensor's memory; releasing twice is harmless."""
        if tensor.released:
            return
        tensor.released = True
        tensor.source = None
        if tensor.key is not None:
            self._shelf.forget(tensor.key)
            del self._known[tensor.key]
        self._free(tensor)

    def begin(self, tensors: Collection[DeviceTensor]) -> None:
        """Before a call: pin what it reads, bring back what has left, wait for what still moves.

        Raises:
            OutOfDeviceMemory: the tensors of this call do not fit beside what cannot leave.
        """
        kept = {one.key: one for one in tensors if one.key is not None and not one.released}
        self._shelf.pin(kept)
        for key, one in kept.items():
            self._shelf.used(key, found=one.there)
            self._bring(one, key)
        moving = [block for one in tensors for block in one.blocks() if block.moved is not None]
        if moving:
            self.transfers.settle(moving)

    def end(self, tensors: Iterable[DeviceTensor]) -> None:
        """After a call, whatever became of it: no transfer overtakes its work on these."""
        self.stamp(tensors)
        self._shelf.pin(())

    def stamp(self, tensors: Iterable[DeviceTensor]) -> None:
        """Note that everything enqueued so far may touch these; do so before they are released."""
        last = self._device.trail.last
        for tensor in tensors:
            for block in tensor.blocks():
                block.computed = last

    def _bring(self, tensor: DeviceTensor, key: int) -> None:
        if not tensor.there and tensor.source is not None:
            self._fill(tensor, tensor.source)
            self._shelf.back(key, self._cost(tensor))

    def _fill(self, made: DeviceTensor, tensor: Tensor) -> None:
        """Give a tensor its memory and its contents; nothing stays allocated if that fails."""
        arrays = laid_out.arrays(tensor)
        cuts = self._cuts(tensor, arrays)
        try:
            self._reserve(sum(whole(array.nbytes) for array in arrays.values()))
            if not cuts:
                self._fill_parts(made, arrays)
            for start, stop in cuts:
                rows = pieces.rows_of(tensor, start, stop)
                piece = DeviceTensor(rows.type, {})
                made.pieces = (*made.pieces, Piece(start, piece))
                self._fill_parts(piece, laid_out.arrays(rows))
        except BaseException:
            self._free(made)
            raise

    def _cuts(self, tensor: Tensor, arrays: laid_out.Arrays) -> list[pieces.Range]:
        """The pieces that a tensor has to be cut into; none when each array fits a buffer.

        Raises:
            LimitExceeded: one does not, and no cut would help.
        """
        limits, widest = self._device.limits, max(array.nbytes for array in arrays.values())
        if whole(widest) <= limits.buffer_bytes:
            return []
        cuts = pieces.ranges(tensor, arrays, limits.buffer_bytes // GRANULE * GRANULE)
        if not cuts:
            limits.check_buffer(whole(widest))
        return cuts

    def _fill_parts(self, made: DeviceTensor, arrays: laid_out.Arrays) -> None:
        for name, array in arrays.items():
            made.parts[name] = Part(self._block(array.nbytes), array.dtype, array.shape)
        self.transfers.write([Pair(made.parts[name].block, arrays[name]) for name in arrays])

    def _read(self, tensor: DeviceTensor) -> Tensor:
        """The tensor as the host had it."""
        kind = tensor.type
        if tensor.pieces:
            return pieces.joined(kind, [self._read(piece.tensor) for piece in tensor.pieces])
        arrays = {name: part.host_array() for name, part in tensor.parts.items()}
        self.transfers.read([Pair(tensor.parts[name].block, arrays[name]) for name in arrays])
        parts = laid_out.host_parts(arrays, kind)
        return Tensor(kind.layout, kind.dtype, tensor.shape, parts)

    def _block(self, nbytes: int) -> Block:
        """A block, also when others have to leave for it."""
        while True:
            try:
                return self.memory.allocate(nbytes)
            except OutOfDeviceMemory:  # the cap, or the driver has less than it says
                if not self._evict(self.memory.shortage(nbytes) or nbytes):
                    raise

    def _reserve(self, nbytes: int) -> None:
        """Make room for `nbytes`, or change nothing when that is not to be had."""
        shortage = self.memory.shortage(nbytes)
        if shortage and not self._evict(shortage):
            raise self.memory.full(nbytes)

    def _evict(self, need: int) -> bool:
        """Let tensors go until `need` bytes have fallen free; False when there are not so many."""
        leaving = self._shelf.leaving(need, lambda key: _alone(self._known[key]))
        for key in leaving or ():
            self._leave(self._known[key])
        return leaving is not None

    def _leave(self, tensor: DeviceTensor) -> None:
        """Drop a tensor from the device; its contents are read back if nobody else keeps them."""
        if tensor.source is None:
            tensor.source = self._read(tensor)
        self._free(tensor)

    def _free(self, tensor: DeviceTensor) -> None:
        for block in tensor.blocks():
            self.memory.release(block)
        tensor.parts, tensor.pieces = {}, ()

    def _cost(self, tensor: DeviceTensor) -> float:
        """Time to have it back once it left [s]."""
        sizes = [block.nbytes for block in tensor.blocks()]
        saved, bandwidth = tensor.source is not None, self.transfers.bandwidth
        return decisions.seconds_back(sum(sizes), bandwidth, transfers=len(sizes), saved=saved)


def _alone(tensor: DeviceTensor) -> bool:
    """Whether it is on the device and shares its memory with no view."""
    return tensor.there and all(block.holders == 1 for block in tensor.blocks())


def _lasting(array: Array) -> bool:
    """Whether nobody can write to an array, also not under another name of its memory."""
    held: object = array
    while isinstance(held, np.ndarray):
        if held.flags.writeable:
            return False
        held = held.base
    return held is None or isinstance(held, bytes) or _readonly(held)


def _readonly(held: object) -> bool:
    return isinstance(held, memoryview) and held.readonly
