"""Sparse matrices of dense blocks (BSR): a block that holds anything is stored whole.

Blocks have any height and width. At the lower and right edge they may reach beyond the matrix;
what they hold there is zero.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.sparse import compressed, order
from shared.sparse.compressed import Compressed
from shared.sparse.order import Indices
from shared.tensors import check, requirements
from shared.tensors.dtypes import F32, I32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor


def pack(matrix: Compressed, *, block: tuple[int, int] = (16, 16)) -> Tensor:
    """Store every block that has a stored element.

    Args:
        matrix: (rows, cols), any value type; read as float32.
        block: height and width of a block.

    Returns:
        BLOCK f32, blocks sorted by row, then column.

    Raises:
        ValueError: a block without elements, more stored values than int32 can count, or parts
            that do not fit (see tensors.check).
    """
    height, width = block
    if min(block) < 1:
        raise ValueError(f"a block needs a height and a width of at least 1, got {block}")
    held = compressed.by_rows(matrix)
    rows, cols = held.shape
    down, across = -(-rows // height), -(-cols // width)
    # The rows of a block row follow one another, so together they are one long line of blocks.
    coarse = held.indptr[np.minimum(np.arange(down + 1) * height, rows)]
    moved = order.by_place(coarse, held.indices // width, across)
    line, place = order.lines(held.indptr)[moved], held.indices[moved]
    first = _first_of_blocks(line // height, place // width)
    count = int(first.sum())
    _require_room(count, block)
    values = np.zeros((count, height, width), dtype=np.float32)
    number = np.cumsum(first) - 1
    values[number, line % height, place % width] = held.values[moved]
    parts: dict[str, Array] = {
        "indptr": np.concatenate([[0], np.cumsum(first)])[coarse].astype(np.int32),
        "indices": (place[first] // width).astype(np.int32),
        "values": values,
    }
    return Tensor(Layout.BLOCK, Dtype.F32, (rows, cols), parts)


def unpack(tensor: Tensor) -> Compressed:
    """The elements of all blocks that are not zero, as CSR of float32.

    Args:
        tensor: BLOCK f32 (see narrow.widened otherwise); its parts are trusted.
    """
    values: F32 = tensor.parts["values"].view(np.float32)
    _, height, width = values.shape
    block, line, place = np.nonzero(values)
    down = order.lines(tensor.parts["indptr"].view(np.int32))
    line += down[block].astype(np.int64) * height
    place += tensor.parts["indices"].astype(np.int64)[block] * width
    rows, cols = tensor.shape
    inside = (line < rows) & (place < cols)
    return compressed.gathered(
        (rows, cols), line[inside], place[inside], values[values != 0][inside]
    )


def to_scipy(tensor: Tensor) -> "sparse.bsr_array[np.float32]":
    """A BLOCK f32 tensor as scipy's bsr_array; values and int32 indices are shared.

    Raises:
        ValueError: another layout or value type, or blocks that do not divide the shape, which
            scipy does not know.
    """
    if tensor.layout is not Layout.BLOCK or tensor.dtype is not Dtype.F32:
        raise ValueError(f"expected block f32, got {tensor.layout} {tensor.dtype}")
    values: F32 = tensor.parts["values"].view(np.float32)
    (rows, cols), (_, height, width) = tensor.shape, values.shape
    if rows % height or cols % width:
        raise ValueError(f"scipy needs blocks that divide {tensor.shape}, got {(height, width)}")
    indices = compressed.indices_of(tensor.parts["indices"])
    parts = (values, indices, tensor.parts["indptr"].view(np.int32))
    return sparse.bsr_array(parts, shape=(rows, cols), copy=False)


def from_scipy(matrix: "sparse.bsr_array[np.float32]") -> Tensor:
    """A scipy bsr_array as a tensor, f32 or f16 as it is; arrays of the right types are shared.

    Raises:
        ValueError: another format, other values, indices that do not fit int32, or parts that do
            not fit together (see tensors.check).
    """
    if matrix.format != "bsr":
        raise ValueError(f"expected bsr, got {matrix.format}; use its tobsr(blocksize=...)")
    stored = order.stored(matrix.indptr, matrix.data, matrix.indices)
    values = order.floats(matrix.data[:stored])
    parts = {
        "indptr": order.int32("indptr", matrix.indptr),
        "indices": order.int32("indices", matrix.indices[:stored]),
        "values": values,
    }
    held = Dtype.F32 if values.dtype == np.float32 else Dtype.F16
    return check.tensor(Tensor(Layout.BLOCK, held, matrix.shape, parts))


def _first_of_blocks(down: I32, across: Indices) -> npt.NDArray[np.bool_]:
    """Whether an element is the first of its block; elements are sorted by block."""
    first = np.ones(down.size, dtype=np.bool_)
    first[1:] = (down[1:] != down[:-1]) | (across[1:] != across[:-1])
    return first


def _require_room(count: int, block: tuple[int, int]) -> None:
    stored = count * block[0] * block[1]
    if stored > requirements.MAX_INDEX:
        raise ValueError(
            f"{count} blocks of {block} hold {stored} values, over {requirements.MAX_INDEX}; "
            "use smaller blocks or another layout"
        )
