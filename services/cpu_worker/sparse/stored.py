"""What kernels read of a weight: its stored elements row by row, or its blocks, prepared once.

Every layout but BLOCK becomes rows: what is stored stays stored, zeros too, and keeps its few bytes
(float16 bits, or codes of 8 bits). Indices take 16 bits where the width allows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.sparse import triplets
from shared.tensors.dtypes import F32, I32, Array, Dtype
from shared.tensors.layouts import COMPACT, Layout, Tensor

Indices = npt.NDArray[np.int32 | np.uint16]
SIDE = 16  # of the blocks that have the fastest product with one column; see `blocks.spmv_square`
NONE: F32 = np.empty(0, dtype=np.float32)  # no scale, no bias


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Stored elements row by row. An element is value × row scale × column scale."""

    shape: tuple[int, int]
    indptr: I32  # (rows + 1,)
    indices: Indices  # (stored,)
    values: Array  # (stored,) float32, float16 as uint16 bits, or int8
    row_scale: F32  # (rows,), or empty
    column_scale: F32  # (cols,), or empty


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Dense blocks, row of blocks by row of blocks."""

    shape: tuple[int, int]
    block: tuple[int, int]  # height, width
    indptr: I32  # (rows of blocks + 1,)
    indices: I32  # (blocks,)
    values: Array  # (blocks * height * width,) float32, float16 as uint16 bits, or int8
    scale: F32  # (blocks,), or empty

    @property
    def padded(self) -> int:
        """Columns of the matrix, rounded up to whole blocks."""
        return -(-self.shape[1] // self.block[1]) * self.block[1]


def rows(tensor: Tensor, *, compact: bool = True) -> Rows:
    """Stored elements of any sparse layout, row by row, in the order in which they are stored.

    Args:
        tensor: its parts are trusted (see tensors.check).
        compact: whether column numbers become 16 bits wide where they fit.
    """
    height, width = tensor.shape
    scale = _scale(tensor)
    by_column = tensor.layout is Layout.CSC
    short = compact and width <= COMPACT
    if tensor.layout is Layout.CSR:
        indptr, columns = tensor.parts["indptr"], tensor.parts["indices"]
        values = tensor.parts["values"]
    else:
        indptr, columns, at = _sorted(tensor)
        values = tensor.parts["values"].reshape(-1)[at]
    return Rows(
        (height, width),
        np.ascontiguousarray(indptr, dtype=np.int32),
        np.ascontiguousarray(columns, dtype=np.uint16 if short else np.int32),
        _plain(values, tensor.dtype),
        NONE if by_column else scale,
        scale if by_column else NONE,
    )


def blocks(tensor: Tensor) -> Blocks:
    """The blocks of a BLOCK tensor; larger ones that 16 x 16 divides are cut into such.

    Args:
        tensor: its parts are trusted (see tensors.check).
    """
    _, height, width = tensor.parts["values"].shape
    rows, cols = tensor.shape
    held = Blocks(
        (rows, cols),
        (height, width),
        np.ascontiguousarray(tensor.parts["indptr"], dtype=np.int32),
        np.ascontiguousarray(tensor.parts["indices"], dtype=np.int32),
        _plain(tensor.parts["values"], tensor.dtype),
        _scale(tensor),
    )
    divided = height % SIDE == 0 and width % SIDE == 0
    return _cut(held) if divided and (height, width) != (SIDE, SIDE) else held


def _cut(held: Blocks) -> Blocks:
    """Cut blocks into squares of 16, and leave out those that lie wholly beyond the matrix."""
    (rows, cols), (height, width), count = held.shape, held.block, held.indices.size
    down, across = height // SIDE, width // SIDE
    of_block = np.repeat(np.arange(held.indptr.size - 1), np.diff(held.indptr))
    lines = of_block[:, np.newaxis, np.newaxis] * down + np.arange(down)[:, np.newaxis]
    places = held.indices[:, np.newaxis, np.newaxis] * across + np.arange(across)
    whole = (count, down, across)
    line, place = (np.broadcast_to(part, whole).reshape(-1) for part in (lines, places))
    inside = np.flatnonzero((line * SIDE < rows) & (place * SIDE < cols))
    kept = inside[np.argsort(line[inside], kind="stable")]
    counts = np.bincount(line[kept], minlength=-(-rows // SIDE))
    squares = held.values.reshape(count, down, SIDE, across, SIDE).swapaxes(2, 3)
    return Blocks(
        held.shape,
        (SIDE, SIDE),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        place[kept].astype(np.int32),
        squares.reshape(-1, SIDE * SIDE)[kept].reshape(-1),
        held.scale[kept // (down * across)] if held.scale.size else NONE,
    )


def _sorted(tensor: Tensor) -> tuple[I32, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pointers, columns and places in `values` of all elements, row by row."""
    found = triplets.of(tensor)
    counts = np.bincount(found.rows, minlength=tensor.shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    short = tensor.shape[0] <= COMPACT  # numpy sorts 16 bits by radix
    order = np.argsort(found.rows.astype(np.uint16) if short else found.rows, kind="stable")
    return indptr, found.cols[order], found.at[order]


def _scale(tensor: Tensor) -> F32:
    if tensor.dtype is not Dtype.I8:
        return NONE
    scale: F32 = tensor.parts["scale"].astype(np.float32, copy=False).reshape(-1)
    return scale


def _plain(values: Array, dtype: Dtype) -> Array:
    """Values in one line, float16 as the bits that kernels widen."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.uint16) if dtype is Dtype.F16 else flat.view(dtype.numpy)
