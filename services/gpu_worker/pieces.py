"""A tensor larger than one buffer, cut by rows: which rows go together, and the host's side of it.

Rows are those of the first axis; of a vector, its elements. A row is never cut.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from shared.tensors.dtypes import I32, Array
from shared.tensors.layouts import Layout, Tensor, TensorType

Range = tuple[int, int]  # first row, and the one after the last
BY_ROWS = (Layout.DENSE, Layout.INT8_CHANNEL, Layout.INT4_GROUP)  # every part has a row per row
CUT = (*BY_ROWS, Layout.CSR)  # layouts that can be cut


def even(rows: int, row_bytes: int, limit: int) -> list[Range]:
    """Ranges of rows of `row_bytes` bytes that keep within `limit` bytes; none if a row does not.

    Args:
        rows: of the tensor.
        row_bytes: [bytes].
        limit: [bytes] of one buffer.
    """
    step = limit // max(row_bytes, 1)
    return [(at, min(at + step, rows)) for at in range(0, rows, step)] if step else []


def ragged(indptr: I32, item_bytes: int, limit: int) -> list[Range]:
    """The same for sparse rows: the pointers and the arrays of stored elements keep within it.

    Args:
        indptr: (rows + 1,) int32.
        item_bytes: [bytes] of the wider of an index and a value.
        limit: [bytes] of one buffer.
    """
    most, pointers = limit // item_bytes, limit // indptr.itemsize
    cuts, at, rows = [], 0, indptr.size - 1
    while at < rows:
        until = int(np.searchsorted(indptr, int(indptr[at]) + most, side="right")) - 1
        until = min(until, at + pointers - 1, rows)
        if until <= at:
            return []
        cuts.append((at, until))
        at = until
    return cuts


def ranges(tensor: Tensor, arrays: Mapping[str, Array], limit: int) -> list[Range]:
    """How to cut a tensor whose prepared `arrays` do not all fit `limit` bytes; empty: not at all.

    Args:
        tensor: as the host has it.
        arrays: its parts as they go to the device.
        limit: [bytes] of one buffer.
    """
    if tensor.layout not in CUT or not tensor.shape:
        return []
    if tensor.layout is Layout.CSR:
        item = max(arrays[part].itemsize for part in ("indices", "values"))
        return ragged(arrays["indptr"].view(np.int32), item, limit)
    rows = tensor.shape[0]
    widest = max(array.nbytes for array in arrays.values())
    return even(rows, -(-widest // max(rows, 1)), limit)


def rows_of(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Some rows as a tensor of their own; dense parts are views."""
    parts = dict(tensor.parts)
    if tensor.layout is Layout.CSR:
        indptr = parts.pop("indptr").view(np.int32)[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        parts = {name: array[first:last] for name, array in parts.items() if name != "scale"}
        parts = {"indptr": indptr - indptr[:1], **parts}
        if "scale" in tensor.parts:
            parts["scale"] = tensor.parts["scale"][start:stop]
    else:
        parts = {name: array[start:stop] for name, array in parts.items()}
    shape = (stop - start, *tensor.shape[1:])
    return Tensor(tensor.layout, tensor.dtype, shape, parts)


def joined(kind: TensorType, pieces: Sequence[Tensor]) -> Tensor:
    """The tensor that `rows_of` cut into these pieces."""
    names = pieces[0].parts
    parts = {name: np.concatenate([one.parts[name] for one in pieces]) for name in names}
    if kind.layout is Layout.CSR:
        parts["indptr"] = _pointers([one.parts["indptr"].view(np.int32) for one in pieces])
    shape = tuple(size or 0 for size in kind.shape)
    return Tensor(kind.layout, kind.dtype, shape, parts)


def _pointers(pieces: Sequence[I32]) -> I32:
    """Row pointers one behind the other, each counted on from the end of the last."""
    counts = np.concatenate([np.diff(one) for one in pieces])
    made: I32 = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int32)
    return made
