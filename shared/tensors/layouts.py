"""How a tensor is stored: a closed set of layouts, the arrays of each, and Tensor itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod

import numpy as np

from shared.tensors import dtypes
from shared.tensors.dtypes import Array, Dtype


class Layout(StrEnum):
    """The ways to store a tensor; `PARTS` names the arrays of each."""

    DENSE = "dense"
    CSR = "csr"
    INT8_CHANNEL = "int8_channel"
    INT4_GROUP = "int4_group"
    SPIKE_BITS = "spike_bits"


PARTS: dict[Layout, tuple[str, ...]] = {
    Layout.DENSE: ("values",),  # shape
    Layout.CSR: ("indptr", "indices", "values"),  # (rows + 1,) i32, (nnz,) i32, (nnz,)
    Layout.INT8_CHANNEL: ("codes", "scale"),  # (rows, cols) i8, (rows, 1) f32
    Layout.INT4_GROUP: ("codes", "scale"),  # (rows, cols / 2) u8, (rows, cols / group) f32
    Layout.SPIKE_BITS: ("words",),  # (..., ceil(n / 32)) u32, bit i of word w is neuron 32 w + i
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor without its values; enough for shape inference and cost.

    A `None` in `shape` is the batch dimension; `nonzeros` is given for sparse layouts alone.
    """

    layout: Layout
    dtype: Dtype
    shape: tuple[int | None, ...]
    nonzeros: int | None = None

    def with_batch(self, batch: int) -> "TensorType":
        """The same type with every open dimension set to `batch`."""
        shape = tuple(batch if size is None else size for size in self.shape)
        return TensorType(self.layout, self.dtype, shape, self.nonzeros)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A layout and the arrays that it names. `dtype` is the element type a reader sees.

    For INT8_CHANNEL and INT4_GROUP that is F32: the value of an element is code × scale.
    """

    layout: Layout
    dtype: Dtype
    shape: tuple[int, ...]
    parts: Mapping[str, Array]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts together."""
        return sum(part.nbytes for part in self.parts.values())

    @property
    def size(self) -> int:
        """Elements a reader sees, zeros included."""
        return prod(self.shape)

    @property
    def type(self) -> TensorType:
        """Everything but the values."""
        nonzeros = self.parts["indices"].size if self.layout is Layout.CSR else None
        return TensorType(self.layout, self.dtype, self.shape, nonzeros)

    @property
    def values(self) -> Array:
        """The array of a dense tensor.

        Raises:
            ValueError: the tensor is not dense.
        """
        if self.layout is not Layout.DENSE:
            raise ValueError(f"a {self.layout} tensor has no plain array; convert it first")
        return self.parts["values"]


def dense(array: Array, dtype: Dtype | None = None) -> Tensor:
    """Wrap an array of any shape as a dense tensor (row-major; copied only when it is not).

    Args:
        array: any shape, one of the numpy types of `Dtype`.
        dtype: needed for BF16 alone, which numpy cannot name.
    """
    held = np.asarray(array, order="C")
    return Tensor(Layout.DENSE, dtype or dtypes.of(held), held.shape, {"values": held})
