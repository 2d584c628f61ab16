"""How the sparse layouts lie on the device that kernels cannot read as they are."""

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from shared.tensors.dtypes import I32, Array, Dtype
from shared.tensors.layouts import COMPACT, TensorType

RUN = 8  # elements of an N:M row that lie together: the nibbles of a 32-bit word

Arrays = Mapping[str, Array]


def by_rows(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """The elements of a CSC matrix in order of their rows, those of a row in order of columns.

    Kernels read `row_ptr` (rows + 1,), `columns` (nnz,) and `values` (nnz,) in the new order;
    `indptr` and `indices` stay beside them for the way back.
    """
    ordered = _ordered(parts, kind)
    narrow = (kind.shape[1] or 0) <= COMPACT and parts["indices"].dtype == Dtype.U16.numpy
    columns = ordered.indices.astype((Dtype.U16 if narrow else Dtype.I32).numpy)
    row_ptr = ordered.indptr.astype(np.int32, copy=False)
    values = parts["values"][ordered.data]
    return {**parts, "row_ptr": row_ptr, "columns": columns, "values": values}


def by_columns(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """The CSC matrix as it was."""
    values = np.empty_like(parts["values"])
    values[_ordered(parts, kind).data] = parts["values"]
    kept = {name: parts[name] for name in parts if name not in ("row_ptr", "columns")}
    return {**kept, "values": values}


def in_runs(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """The rows of an N:M matrix padded to whole runs.

    `positions` become (rows, runs) uint32 of 8 nibbles each and `values` (rows, runs, 8). `pattern`
    becomes (n, m) bytes, because a launch sees the shape of a part and not what is in it.
    """
    values, positions = parts["values"], parts["positions"]
    (rows, kept), (n, m) = values.shape, parts["pattern"]
    runs = -(-kept // RUN)
    padded = np.pad(values, ((0, 0), (0, runs * RUN - kept)))
    nibbles = np.pad(positions, ((0, 0), (0, runs * RUN // 2 - positions.shape[1])))
    return {
        **parts,
        "pattern": np.zeros((n, m), np.uint8),
        "positions": np.ascontiguousarray(nibbles).view("<u4").reshape(rows, runs),
        "values": padded.reshape(rows, runs, RUN),
    }


def without_runs(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """The N:M matrix as it was."""
    n, m = parts["pattern"].shape
    rows, runs = parts["positions"].shape
    kept = -(-(kind.shape[1] or 0) // m) * n
    nibbles = parts["positions"].view(np.uint8).reshape(rows, runs * RUN // 2)
    values = parts["values"].reshape(rows, runs * RUN)
    return {
        **parts,
        "pattern": np.array((n, m), np.int32),
        "positions": np.ascontiguousarray(nibbles[:, : -(-kept // 2)]),
        "values": np.ascontiguousarray(values[:, :kept]),
    }


def _ordered(parts: Arrays, kind: TensorType) -> "sparse.csr_array[np.int32]":
    """The matrix by rows whose values say where in the columns each element lies; linear time."""
    rows, cols = kind.shape
    places: I32 = np.arange(parts["indices"].size, dtype=np.int32)
    indices: I32 = parts["indices"].astype(np.int32, copy=False)
    indptr: I32 = parts["indptr"].view(np.int32)
    return sparse.csc_array((places, indices, indptr), shape=(rows or 0, cols or 0)).tocsr()
