"""What must hold between the parts of the sparse layouts; `check.tensor` asks here."""

from collections.abc import Callable

import numpy as np

from shared.tensors import packing
from shared.tensors.dtypes import I32, U32, Array, Dtype
from shared.tensors.layouts import SLICE, Layout, Tensor
from shared.tensors.packing import WORD_BITS
from shared.tensors.requirements import (
    matrix,
    places,
    pointers,
    require_dtype,
    require_shape,
    scales,
)

VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)
MAX_GROUP = 16  # elements of an N:M group: a place in it is a nibble


def tensor(held: Tensor) -> None:
    """Check a tensor of a sparse layout, whose parts are those that the layout names.

    Raises:
        ValueError: naming the part and the first place that breaks a rule.
    """
    if held.dtype not in VALUES:
        raise ValueError(f"values of {held.layout} are f32, f16 or i8, got {held.dtype}")
    require_dtype("values", held.parts["values"], held.dtype)
    rows, cols = matrix(held)
    _CHECKS[held.layout](held, rows, cols)
    if held.dtype is Dtype.I8:
        scales(held.parts["scale"])
        require_shape("scale", held.parts["scale"], (_scaled(held), 1))


def _scaled(held: Tensor) -> int:
    """How many scales there are: one per block, else one per line."""
    if held.layout is Layout.BLOCK:
        return int(held.parts["values"].shape[0])
    return held.shape[1] if held.layout is Layout.CSC else held.shape[0]


def _csr(held: Tensor, rows: int, cols: int) -> None:
    indices = _elements(held, cols, "columns")
    pointers("indptr", _i32(held, "indptr", rows + 1), indices.size)


def _csc(held: Tensor, rows: int, cols: int) -> None:
    indices = _elements(held, rows, "rows")
    pointers("indptr", _i32(held, "indptr", cols + 1), indices.size, "column")


def _elements(held: Tensor, limit: int, noun: str) -> Array:
    """The indices of a layout that has one for each value."""
    indices = held.parts["indices"]
    places(indices, limit, noun)
    require_shape("values", held.parts["values"], indices.shape)
    return indices


def _block(held: Tensor, rows: int, cols: int) -> None:
    indices, values = held.parts["indices"], held.parts["values"]
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise ValueError(f"values must be (blocks, height, width), got shape {values.shape}")
    height, width = values.shape[1:]
    require_shape("values", values, (indices.size, height, width))
    places(indices, -(-cols // width), "columns of blocks")
    pointers("indptr", _i32(held, "indptr", -(-rows // height) + 1), indices.size, "row of blocks")


def _sell(held: Tensor, rows: int, cols: int) -> None:
    indices = _elements(held, max(cols, 1), "columns")  # padding points at column 0, come what may
    starts = _i32(held, "starts", -(-rows // SLICE) + 1)
    pointers("starts", starts, indices.size, "slice")
    if (starts % SLICE).any():
        raise ValueError(f"starts must be multiples of {SLICE}")
    lengths, order = _i32(held, "lengths", rows), _i32(held, "order", rows)
    widths = np.repeat(np.diff(starts) // SLICE, SLICE)[:rows]
    wrong = np.flatnonzero((lengths < 0) | (lengths > widths))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(f"lengths[{at}] is {lengths[at]}, its slice has width {widths[at]}")
    if cols == 0 and lengths.any():
        raise ValueError("a matrix without columns has no elements")
    _permutation(order)


def _permutation(order: I32) -> None:
    outside = np.flatnonzero((order < 0) | (order >= order.size))
    if outside.size:
        raise ValueError(f"order names row {order[outside[0]]}, there are {order.size}")
    if order.size and np.bincount(order, minlength=order.size).max() > 1:
        raise ValueError("order must name every row once")


def _bitmask(held: Tensor, rows: int, cols: int) -> None:
    words = held.parts["words"]
    require_dtype("words", words, Dtype.U32)
    require_shape("words", words, (rows, -(-cols // WORD_BITS)))
    starts = _i32(held, "starts", rows + 1)
    values = held.parts["values"]
    require_shape("values", values, (values.size,))
    pointers("starts", starts, values.size)
    bits: U32 = words.view(np.uint32)
    used = cols % WORD_BITS
    if used and (bits[:, -1:] >> np.uint32(used)).any():
        raise ValueError(f"bits above column {cols} of the last word must be zero")
    counted = ones(bits)
    wrong = np.flatnonzero(counted != np.diff(starts))
    if wrong.size:
        row = int(wrong[0])
        stored = starts[row + 1] - starts[row]
        raise ValueError(f"row {row} has {counted[row]} bits and {stored} values")


def ones(words: U32) -> Array:
    """Bits that are set in each row of (rows, words) uint32."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.asarray(_BITS[octets].sum(axis=1, dtype=np.int64))


_BITS = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


def _nm(held: Tensor, rows: int, cols: int) -> None:
    n, m = (int(number) for number in _i32(held, "pattern", 2))
    if not 1 <= n <= m <= MAX_GROUP:
        raise ValueError(f"pattern must be n of m with 1 <= n <= m <= {MAX_GROUP}, got {n} of {m}")
    kept = -(-cols // m) * n
    require_shape("values", held.parts["values"], (rows, kept))
    packed = held.parts["positions"]
    require_dtype("positions", packed, Dtype.U8)
    require_shape("positions", packed, (rows, -(-kept // 2)))
    inside = packing.split_places(packed.view(np.uint8), kept)
    _groups(inside.reshape(rows, kept // n, n), m, cols)


def _groups(inside: Array, m: int, cols: int) -> None:
    """Check the places of (rows, groups, n) elements in their groups of m columns."""
    room = np.minimum(m, cols - m * np.arange(inside.shape[1]))[:, np.newaxis]
    wrong = np.argwhere(inside.astype(np.int64) >= room)
    if wrong.size:
        row, group, at = (int(number) for number in wrong[0])
        limit = int(room[group, 0])
        found = f"row {row}, group {group} has place {inside[row, group, at]}"
        raise ValueError(f"{found}, the group has {limit} columns")


def _i32(held: Tensor, part: str, size: int) -> I32:
    """A part that holds `size` int32."""
    array = held.parts[part]
    require_dtype(part, array, Dtype.I32)
    require_shape(part, array, (size,))
    return array.view(np.int32)


_CHECKS: dict[Layout, Callable[[Tensor, int, int], None]] = {
    Layout.CSR: _csr,
    Layout.CSC: _csc,
    Layout.BLOCK: _block,
    Layout.SELL: _sell,
    Layout.BITMASK: _bitmask,
    Layout.NM: _nm,
}
