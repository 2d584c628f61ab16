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
    CSC = "csc"
    BLOCK = "block"
    SELL = "sell"
    BITMASK = "bitmask"
    NM = "nm"
    INT8_CHANNEL = "int8_channel"
    INT4_GROUP = "int4_group"
    INT_GROUP = "int_group"
    SPIKE_BITS = "spike_bits"


SLICE = 64  # rows of a SELL slice: the wavefront of GCN
COMPACT = 2**16  # indices below this may be stored as u16

# Stored elements of a sparse layout are f32, f16, or i8 with a scale: see `parts_of`. Indices are
# i32, or u16 when the axis they number has at most COMPACT places. Element k of place p of a SELL
# tensor (row order[p]) lies at starts[p // SLICE] + SLICE k + p % SLICE, for k below lengths[p].
PARTS: dict[Layout, tuple[str, ...]] = {
    Layout.DENSE: ("values",),  # shape
    Layout.CSR: ("indptr", "indices", "values"),  # (rows + 1,) i32, (nnz,), (nnz,)
    Layout.CSC: ("indptr", "indices", "values"),  # (cols + 1,) i32, (nnz,), (nnz,)
    # (rows of blocks + 1,) i32, (blocks,), (blocks, height, width)
    Layout.BLOCK: ("indptr", "indices", "values"),
    # (slices + 1,) i32, (rows,) i32, (rows,) i32, (stored,), (stored,)
    Layout.SELL: ("starts", "lengths", "order", "indices", "values"),
    # (rows, ceil(cols / 32)) u32, (rows + 1,) i32, (nnz,)
    Layout.BITMASK: ("words", "starts", "values"),
    # (2,) i32: n of m; (rows, ceil(kept / 2)) u8, two places in their group to a byte; (rows, kept)
    Layout.NM: ("pattern", "positions", "values"),
    Layout.INT8_CHANNEL: ("codes", "scale"),  # (rows, cols) i8, (rows, 1) f32
    Layout.INT4_GROUP: ("codes", "scale"),  # (rows, cols / 2) u8, (rows, cols / group) f32
    # (1,) u8: 2 to 8; (rows, ceil(cols bits / 8)) u8, code i of a row from bit i * bits on, lowest
    # first; (rows or 1, groups) f32; of the same shape or (1, 1), u8: what stands for zero
    Layout.INT_GROUP: ("bits", "codes", "scale", "zero"),
    Layout.SPIKE_BITS: ("words",),  # (..., ceil(n / 32)) u32, bit i of word w is neuron 32 w + i
}
SPARSE = frozenset({Layout.CSR, Layout.CSC, Layout.BLOCK, Layout.SELL, Layout.BITMASK, Layout.NM})


def parts_of(layout: Layout, dtype: Dtype) -> tuple[str, ...]:
    """Names of the arrays of a tensor; stored codes of 8 bits (I8) bring a `scale`.

    The scale is float32: (blocks, 1) for BLOCK, else (lines, 1), a line being a column for CSC and
    a row for every other layout.
    """
    scaled = layout in SPARSE and dtype is Dtype.I8
    return (*PARTS[layout], "scale") if scaled else PARTS[layout]


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor without its values; enough for shape inference and cost.

    A `None` in `shape` is the batch dimension. `nonzeros` counts the stored elements of a sparse
    layout; `stored_bytes` is given where the bytes of all parts do not follow from the shape.
    """

    layout: Layout
    dtype: Dtype
    shape: tuple[int | None, ...]
    nonzeros: int | None = None
    stored_bytes: int | None = None

    def with_batch(self, batch: int) -> "TensorType":
        """The same type with every open dimension set to `batch`."""
        shape = tuple(batch if size is None else size for size in self.shape)
        return TensorType(self.layout, self.dtype, shape, self.nonzeros, self.stored_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A layout and the arrays that it names. `dtype` is the element type a reader sees.

    For INT8_CHANNEL and INT4_GROUP that is F32: the value of an element is code × scale; for
    INT_GROUP, whose codes have no sign, (code - zero) × scale. For the sparse layouts `dtype` says
    how values are stored: F32, F16, or I8, where again an element is code × scale.
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
        if self.layout is Layout.DENSE:  # asked for each call
            return TensorType(self.layout, self.dtype, self.shape)
        return described(self.layout, self.dtype, self.shape, self.nbytes, self._stored())

    def _stored(self) -> int:
        """Stored elements of a sparse layout; the padding of SELL is none."""
        if self.layout is Layout.SELL:
            return int(self.parts["lengths"].view(np.int32).sum(dtype=np.int64))
        return self.parts["values"].size if self.layout in SPARSE else 0

    @property
    def values(self) -> Array:
        """The array of a dense tensor, or the words of spike bits.

        Raises:
            ValueError: the tensor is of another layout.
        """
        if self.layout is Layout.SPIKE_BITS:
            return self.parts["words"]
        if self.layout is not Layout.DENSE:
            raise ValueError(f"a {self.layout} tensor has no plain array; convert it first")
        return self.parts["values"]


def described(
    layout: Layout, dtype: Dtype, shape: tuple[int, ...], nbytes: int, stored: int
) -> TensorType:
    """The type of a tensor of whose parts only the bytes and the stored elements are known."""
    if layout in SPARSE:
        return TensorType(layout, dtype, shape, stored, nbytes)
    sized = layout in (Layout.INT4_GROUP, Layout.INT_GROUP)
    return TensorType(layout, dtype, shape, None, nbytes if sized else None)


def dense(array: Array, dtype: Dtype | None = None) -> Tensor:
    """Wrap an array of any shape as a dense tensor (row-major; copied only when it is not).

    Args:
        array: any shape, one of the numpy types of `Dtype`.
        dtype: needed for BF16 alone, which numpy cannot name.
    """
    held = np.asarray(array, order="C")
    return Tensor(Layout.DENSE, dtype or dtypes.of(held), held.shape, {"values": held})
