"""What each sparse layout means: its stored elements as row, column and value, in plain numpy.

This is the definition that every product and every conversion is held against. It is short rather
than fast, and shares nothing with the code that packs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.tensors import packing
from shared.tensors.dtypes import F32, I32, U8, U32, Dtype
from shared.tensors.layouts import SLICE, SPARSE, Layout, Tensor
from shared.tensors.packing import WORD_BITS

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Places(NamedTuple):
    """Where stored elements belong, and where they are stored."""

    rows: I64  # (stored,)
    cols: I64  # (stored,); the padding of a block may lie beyond the last row or column
    at: I64  # (stored,) place in the flattened part `values`
    line: I64  # (stored,) which scale multiplies it


class Triplets(NamedTuple):
    """Stored elements that lie inside the matrix, in the order in which they are stored."""

    rows: I64  # (stored,)
    cols: I64  # (stored,)
    values: F64  # (stored,) code × scale where there are codes
    at: I64  # (stored,) place in the flattened part `values`


def of(tensor: Tensor) -> Triplets:
    """The stored elements of a tensor whose parts are trusted (see tensors.check).

    Raises:
        ValueError: the layout is not a sparse one.
    """
    if tensor.layout not in SPARSE:
        raise ValueError(f"a {tensor.layout} tensor has no stored elements; it is not sparse")
    places = _PLACES[tensor.layout](tensor)
    rows, cols = tensor.shape
    inside = (places.rows < rows) & (places.cols < cols)
    kept = Places(*(part[inside] for part in places))
    values = tensor.parts["values"].reshape(-1)[kept.at].astype(np.float64)
    if tensor.dtype is Dtype.I8:
        values *= tensor.parts["scale"].reshape(-1)[kept.line].astype(np.float64)
    return Triplets(kept.rows, kept.cols, values, kept.at)


def matrix(tensor: Tensor) -> "sparse.coo_array[np.float64]":
    """The tensor as scipy's coo_array of float64; repeated places stay apart and add up."""
    found = of(tensor)
    return sparse.coo_array((found.values, (found.rows, found.cols)), shape=tensor.shape)


def product(tensor: Tensor, x: F32) -> F64:
    """W x with products and sums in float64; what is not stored takes no part.

    Args:
        tensor: (rows, cols), a sparse layout.
        x: (cols, n) float32.

    Returns:
        (rows, n) float64.
    """
    return np.asarray(matrix(tensor) @ x.astype(np.float64), dtype=np.float64)


def _csr(tensor: Tensor) -> Places:
    lines, places = _compressed(tensor)
    return Places(lines, places, np.arange(lines.size), lines)


def _csc(tensor: Tensor) -> Places:
    lines, places = _compressed(tensor)
    return Places(places, lines, np.arange(lines.size), lines)


def _compressed(tensor: Tensor) -> tuple[I64, I64]:
    """Line and place on the other axis of every element of `indices`."""
    indptr = tensor.parts["indptr"].astype(np.int64)
    lines = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    return lines, tensor.parts["indices"].astype(np.int64)


def _block(tensor: Tensor) -> Places:
    _, height, width = tensor.parts["values"].shape
    down, across = _compressed(tensor)
    inner = np.arange(height * width)
    rows = down[:, np.newaxis] * height + inner // width
    cols = across[:, np.newaxis] * width + inner % width
    blocks = np.repeat(np.arange(down.size), inner.size)
    return Places(rows.reshape(-1), cols.reshape(-1), np.arange(rows.size), blocks)


def _sell(tensor: Tensor) -> Places:
    starts: I32 = tensor.parts["starts"].view(np.int32)
    lengths: I32 = tensor.parts["lengths"].view(np.int32)
    place = np.repeat(np.arange(lengths.size), lengths)
    ends = np.cumsum(lengths, dtype=np.int64)
    element = np.arange(place.size) - np.repeat(ends - lengths, lengths)
    at = starts[place // SLICE].astype(np.int64) + SLICE * element + place % SLICE
    rows = tensor.parts["order"].astype(np.int64)[place]
    return Places(rows, tensor.parts["indices"].astype(np.int64)[at], at, rows)


def _bitmask(tensor: Tensor) -> Places:
    words: U32 = tensor.parts["words"].view(np.uint32)
    bits = packing.split_spikes(words, words.shape[1] * WORD_BITS)
    rows, cols = np.nonzero(bits)
    return Places(rows, cols, np.arange(rows.size), rows)


def _nm(tensor: Tensor) -> Places:
    n, m = tensor.parts["pattern"].astype(np.int64)
    rows, kept = tensor.parts["values"].shape
    packed: U8 = tensor.parts["positions"].view(np.uint8)
    inside = packing.split_places(packed, kept).astype(np.int64)
    cols = np.arange(kept) // n * m + inside
    lines = np.repeat(np.arange(rows), kept)
    return Places(lines, cols.reshape(-1), np.arange(lines.size), lines)


_PLACES: dict[Layout, Callable[[Tensor], Places]] = {
    Layout.CSR: _csr,
    Layout.CSC: _csc,
    Layout.BLOCK: _block,
    Layout.SELL: _sell,
    Layout.BITMASK: _bitmask,
    Layout.NM: _nm,
}
