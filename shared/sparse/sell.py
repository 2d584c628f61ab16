"""SELL-64-σ: slices of 64 rows, stored column by column, so 64 lanes read neighbouring values.

Every row of a slice is as long as its longest one. Sorting rows by length inside windows of σ rows
makes neighbours equally long and the padding small; the order of rows is stored.

Source: Kreutzer et al. 2014, "A Unified Sparse Matrix Data Format for Efficient General Sparse
Matrix-Vector Multiplication on Modern Processors with Wide SIMD Units".
"""

import numpy as np

from shared.sparse import compressed, order
from shared.sparse.compressed import Axis, Compressed
from shared.tensors.dtypes import F32, I32, Dtype
from shared.tensors.layouts import SLICE, Layout, Tensor


def pack(matrix: Compressed, *, sigma: int | None = None) -> Tensor:
    """Sort rows by length, and store them in slices.

    Args:
        matrix: (rows, cols), any value type; read as float32.
        sigma: rows of a sorting window, a multiple of 64; None for the whole matrix, which pads
            least. Rows of equal length keep their order.

    Returns:
        SELL f32.

    Raises:
        ValueError: sigma is no positive multiple of 64, more elements (with padding) than int32
            can count, or parts that do not fit (see tensors.check).
    """
    if sigma is not None and (sigma < SLICE or sigma % SLICE):
        raise ValueError(f"sigma must be a positive multiple of {SLICE}, got {sigma}")
    held = compressed.by_rows(matrix)
    rows, cols = held.shape
    counts = np.diff(held.indptr)
    window = np.arange(rows) // (sigma or max(rows, 1))
    sorted_rows = np.lexsort((-counts, window)).astype(np.int32)
    lengths = counts[sorted_rows]
    starts = _starts(lengths)
    slots = _slots(starts, lengths, sorted_rows)
    indices = np.zeros(starts[-1], dtype=np.int32)
    values = np.zeros(starts[-1], dtype=np.float32)
    indices[slots], values[slots] = held.indices, held.values
    parts = {
        "starts": starts,
        "lengths": lengths,
        "order": sorted_rows,
        "indices": indices,
        "values": values,
    }
    return Tensor(Layout.SELL, Dtype.F32, (rows, cols), parts)


def unpack(tensor: Tensor) -> Compressed:
    """The stored elements as CSR of float32; padding is left out.

    Args:
        tensor: SELL f32 (see narrow.widened otherwise); its parts are trusted.
    """
    indptr, found = slots(tensor)
    rows, cols = tensor.shape
    values: F32 = tensor.parts["values"].view(np.float32)
    indices = tensor.parts["indices"][found].astype(np.int32)
    return Compressed(Axis.ROWS, (rows, cols), indptr, indices, values[found])


def slots(tensor: Tensor) -> tuple[I32, order.I64]:
    """Where elements are stored, row after row as CSR counts them.

    Returns:
        (rows + 1,) where the elements of a row start, and (nonzeros,) the place of each element
        in the parts `indices` and `values`.
    """
    starts, lengths = tensor.parts["starts"].view(np.int32), tensor.parts["lengths"].view(np.int32)
    sorted_rows: I32 = tensor.parts["order"].view(np.int32)
    counts = np.empty_like(lengths)
    counts[sorted_rows] = lengths
    return order.pointers(counts), _slots(starts, lengths, sorted_rows)


def _starts(lengths: I32) -> I32:
    """(slices + 1,) where slices start: each is as wide as its longest row."""
    padded = np.zeros(-(-lengths.size // SLICE) * SLICE, dtype=np.int64)
    padded[: lengths.size] = lengths
    return order.pointers(padded.reshape(-1, SLICE).max(axis=1) * SLICE)


def _slots(starts: I32, lengths: I32, sorted_rows: I32) -> order.I64:
    """Element k of the row at place p lies at starts[p // 64] + 64 k + p % 64."""
    place = np.empty(sorted_rows.size, dtype=np.int64)
    place[sorted_rows] = np.arange(sorted_rows.size)
    counts = lengths[place]
    before = np.cumsum(counts, dtype=np.int64) - counts
    lane = starts[place // SLICE] + place % SLICE - SLICE * before
    return np.repeat(lane, counts) + SLICE * np.arange(int(counts.sum(dtype=np.int64)))
