"""Tensors in device memory: laid out for the kernels, brought there and back."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import prod

import numpy as np
import pyopencl as cl

from services.gpu_worker import laid_out
from services.gpu_worker.device import Device, trouble
from services.gpu_worker.memory import Block, Memory
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor, TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One array of a tensor on the device: where it is and how its elements lie."""

    block: Block
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    def host_array(self) -> Array:
        """Room for the part in host memory."""
        return np.empty(self.shape, self.dtype)


@dataclass(slots=True, eq=False)
class DeviceTensor:
    """A tensor whose parts are buffers, laid out as `laid_out` says."""

    type: TensorType
    parts: Mapping[str, Part]
    released: bool = field(default=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The known shape: a resident tensor has no open dimension."""
        return tuple(size for size in self.type.shape if size is not None)

    @property
    def size(self) -> int:
        """Elements a reader sees."""
        return prod(self.shape)

    def buffer(self, part: str = "values") -> cl.Buffer:
        """The buffer of a part, as a kernel takes it.

        Raises:
            ValueError: the tensor was released.
        """
        if self.released:
            raise ValueError(f"a released tensor of shape {self.shape} was used")
        return self.parts[part].block.buffer


class Residency:
    """Makes, fills, reads and frees tensors in device memory."""

    def __init__(self, device: Device) -> None:
        self.memory = Memory(device)
        self.upload_seconds = 0.0  # of the last upload, on the device's clock
        self.download_seconds = 0.0
        self._device = device

    def empty(self, kind: TensorType) -> DeviceTensor:
        """A dense tensor of the given type, contents undefined; raises like `Memory.allocate`."""
        shape = tuple(size or 0 for size in kind.shape)
        count = prod(shape)
        self._device.limits.check_elements(count)
        block = self.memory.allocate(count * kind.dtype.itemsize)
        return DeviceTensor(kind, {"values": Part(block, kind.dtype.numpy, shape)})

    def view(self, tensor: DeviceTensor, kind: TensorType) -> DeviceTensor:
        """The same bytes of a dense tensor under another shape, without a copy."""
        tensor.buffer()  # refuses a released tensor
        part = tensor.parts["values"]
        part.block.holders += 1
        shape = tuple(size or 0 for size in kind.shape)
        return DeviceTensor(kind, {"values": Part(part.block, part.dtype, shape)})

    def upload(self, tensor: Tensor) -> DeviceTensor:
        """Copy a tensor to the device; raises like `Memory.allocate`."""
        for part in tensor.parts.values():  # the zeros of a sparse tensor are not numbered
            self._device.limits.check_elements(part.size)
        arrays = laid_out.arrays(tensor)
        parts: dict[str, Part] = {}
        resident = DeviceTensor(tensor.type, parts)
        try:
            for name, array in arrays.items():
                block = self.memory.allocate(array.nbytes)
                parts[name] = Part(block, array.dtype, array.shape)
            with self._transfer():
                events = [
                    cl.enqueue_copy(self._device.queue, parts[name].block.buffer, array)
                    for name, array in arrays.items()
                    if array.size
                ]
                self.upload_seconds = _seconds(events)
        except BaseException:
            self.release(resident)
            raise
        return resident

    def download(self, tensor: DeviceTensor) -> Tensor:
        """Copy a tensor back to host memory, after everything enqueued before."""
        arrays = {name: part.host_array() for name, part in tensor.parts.items()}
        with self._transfer():
            events = [
                cl.enqueue_copy(self._device.queue, array, tensor.buffer(name))
                for name, array in arrays.items()
                if array.size
            ]
            self.download_seconds = _seconds(events)
        kind = tensor.type
        return Tensor(kind.layout, kind.dtype, tensor.shape, laid_out.host_parts(arrays, kind))

    def release(self, tensor: DeviceTensor) -> None:
        """Free a tensor's memory; releasing twice is harmless."""
        if tensor.released:
            return
        tensor.released = True
        for part in tensor.parts.values():
            self.memory.release(part.block)

    def _transfer(self) -> AbstractContextManager[None]:
        """Copies block until they are done, so that host arrays may be reused at once."""
        return trouble(f"a transfer with {self._device.name}")


def _seconds(events: Iterable[cl.Event]) -> float:
    """Time of finished copies together, by the device's clock."""
    return sum((event.profile.end - event.profile.start) * 1e-9 for event in events)
