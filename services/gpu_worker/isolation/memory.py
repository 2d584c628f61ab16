"""Shared memory without a name: it ends with the last process that has it, however that ends.

Both sides map the same anonymous file (memfd). Small tensors go through two areas that are made
once, so a call allocates nothing; a large tensor gets a file of its own, whose descriptor is sent
along.
"""

import mmap
import os
from typing import Self

import numpy as np

from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor

ALIGN = 64  # [bytes] of every array: a cache line, and the widest vector load


class Shared:
    """A piece of shared memory, filled from its start on."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Map `size` bytes of a file; the descriptor may be closed afterwards."""
        self.size = size
        self._used = 0
        self._map = mmap.mmap(descriptor, max(size, 1))
        self.view = memoryview(self._map)

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """Map a whole file and close its descriptor."""
        try:
            return cls(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    @property
    def free(self) -> int:
        """Bytes left."""
        return self.size - self._used

    def reset(self) -> None:
        """Begin at the start again: what was put in was read."""
        self._used = 0

    def put(self, array: Array) -> int:
        """Copy an array in, row-major; returns its offset [bytes]. There must be room."""
        offset = self._used
        kind, count = array.dtype, array.size
        if count:
            np.frombuffer(self.view, kind, count, offset).reshape(array.shape)[...] = array
        self._used = offset + padded(array.nbytes)
        return offset

    def close(self) -> None:
        """Unmap, as soon as no array looks into it any more."""
        self.view.release()
        self._map.close()


def file(size: int) -> int:
    """A descriptor of new, empty memory of `size` bytes; it costs pages only where written."""
    descriptor = os.memfd_create("ellesmere", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, max(size, 1))
    return descriptor


def need(tensor: Tensor) -> int:
    """Bytes that the arrays of a tensor take in shared memory."""
    return sum(padded(array.nbytes) for array in tensor.parts.values())


def padded(nbytes: int) -> int:
    """Up to the next aligned offset."""
    return -(-nbytes // ALIGN) * ALIGN
