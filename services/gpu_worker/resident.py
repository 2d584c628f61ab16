"""A tensor in device memory: its arrays are buffers."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
import pyopencl as cl

from services.gpu_worker.limits import LimitExceeded
from services.gpu_worker.memory import Block
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


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The rows from `start` on of a tensor that is larger than one buffer."""

    start: int
    tensor: "DeviceTensor"

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.start + self.tensor.shape[0]


@dataclass(slots=True, eq=False)
class DeviceTensor:
    """A tensor whose parts are buffers, laid out as `laid_out` says.

    One larger than a buffer has no parts of its own but `pieces`, row after row. One that has left
    the device has neither.
    """

    type: TensorType
    parts: dict[str, Part]
    released: bool = field(default=False)
    pieces: tuple[Piece, ...] = ()
    source: Tensor | None = None  # the same in host memory, where nobody writes to it
    key: int | None = None  # on the shelf; None: it stays until it is released

    @property
    def shape(self) -> tuple[int, ...]:
        """The known shape: a resident tensor has no open dimension."""
        return tuple(size for size in self.type.shape if size is not None)

    @property
    def size(self) -> int:
        """Elements a reader sees."""
        return prod(self.shape)

    @property
    def there(self) -> bool:
        """Whether it is on the device."""
        return bool(self.parts or self.pieces)

    def buffer(self, part: str = "values") -> cl.Buffer:
        """The buffer of a part, as a kernel takes it.

        Raises:
            ValueError: the tensor was released, or has left and no call brought it back.
            LimitExceeded: it lies in several buffers.
        """
        if self.parts and not self.released:
            return self.parts[part].block.buffer
        if self.released:
            raise ValueError(f"a released tensor of shape {self.shape} was used")
        if self.pieces:
            raise LimitExceeded(
                f"a tensor of shape {self.shape} lies in {len(self.pieces)} buffers, "
                "and this operator reads one"
            )
        raise ValueError(f"a tensor of shape {self.shape} is not on the device")

    def blocks(self) -> list[Block]:
        """Every block that it lies in."""
        if self.pieces:
            return [block for piece in self.pieces for block in piece.tensor.blocks()]
        return [part.block for part in self.parts.values()]
