"""Compressed sparse matrices: CSR and CSC as one structure that differs in the compressed axis.

The elements of line i (a row for CSR, a column for CSC) are `values[indptr[i]:indptr[i + 1]]`, and
`indices` says where on the other axis each one lies. Order within a line is free, and elements that
share a place add up, as in scipy; `canonical` sorts and adds. Values are float32, float16, or
8-bit codes with a scale per line; what a reader sees is float32.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.sparse import order
from shared.sparse.order import I64, Indices
from shared.tensors import check, dtypes, requirements
from shared.tensors.dtypes import F32, I32, Array
from shared.tensors.layouts import Layout, Tensor

F64 = npt.NDArray[np.float64]
Stored = npt.NDArray[np.float32 | np.float16 | np.int8]
_LAYOUTS = (Layout.CSR, Layout.CSC)  # by axis


class Axis(IntEnum):
    """The axis whose lines are stored one after another."""

    ROWS = 0  # CSR
    COLUMNS = 1  # CSC


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A sparse matrix. The transpose is the same arrays under the other axis."""

    axis: Axis
    shape: tuple[int, int]
    indptr: I32  # (lines + 1,)
    indices: Indices  # (nonzeros,); uint16 where the other axis has at most 65536 places
    values: Stored  # (nonzeros,)
    scale: F32 | None = None  # (lines, 1), with int8 values: an element is code × scale

    @property
    def nonzeros(self) -> int:
        """Stored elements."""
        return self.indices.size

    @property
    def lines(self) -> int:
        """Rows of a CSR matrix, columns of a CSC one."""
        return self.shape[self.axis]

    @property
    def places(self) -> int:
        """What `indices` count: the length of the other axis."""
        return self.shape[1 - self.axis]

    @property
    def transposed(self) -> "Compressed":
        """The transposed matrix; nothing is copied."""
        rows, cols = self.shape
        return replace(self, axis=Axis(1 - self.axis), shape=(cols, rows))


def compress(matrix: F32, *, axis: Axis = Axis.ROWS) -> Compressed:
    """Store the elements that are not zero; NaN is not zero, -0.0 is.

    Args:
        matrix: (rows, cols) float32 of any byte order and strides.
        axis: ROWS for CSR, COLUMNS for CSC.

    Raises:
        ValueError: not two dimensions or float32, or more elements than int32 can count.
    """
    if matrix.ndim != 2:
        raise ValueError(f"a sparse matrix has two dimensions, got shape {matrix.shape}")
    if matrix.dtype.newbyteorder("<") != np.dtype("<f4"):
        raise ValueError(f"values must be float32, got {matrix.dtype}; convert them first")
    oriented = matrix if axis is Axis.ROWS else matrix.T
    counts = np.count_nonzero(oriented, axis=1)
    if (stored := int(counts.sum())) > requirements.MAX_INDEX:
        raise ValueError(
            f"at most {requirements.MAX_INDEX} elements can be stored, got {stored}; split the rows"
        )
    lines, places = np.nonzero(oriented)
    values = oriented[lines, places].astype("<f4", copy=False)
    rows, cols = matrix.shape
    return Compressed(axis, (rows, cols), order.pointers(counts), places.astype(np.int32), values)


def gathered(shape: tuple[int, int], rows: I64, cols: I64, values: F32) -> Compressed:
    """Elements in any order as canonical CSR; those of one place are added as they come.

    Args:
        shape: of the matrix.
        rows: (elements,) int64, in range.
        cols: (elements,) int64, in range.
        values: (elements,) float32.
    """
    single = np.arange(rows.size + 1, dtype=np.int32)  # every element is a line of its own
    indptr, moved, _ = order.grouped(single, rows.astype(np.int32), shape[0])
    return canonical(
        Compressed(Axis.ROWS, shape, indptr, cols[moved].astype(np.int32), values[moved])
    )


def widened(matrix: Compressed) -> Compressed:
    """The same matrix with float32 values, code × scale where there are codes; else itself."""
    if matrix.values.dtype == np.float32:
        return matrix
    return replace(matrix, values=_widened(matrix), scale=None)


def _widened(matrix: Compressed) -> F32:
    values: F32 = matrix.values.astype(np.float32, copy=False)
    if matrix.scale is None:
        return values
    return values * np.repeat(matrix.scale[:, 0], np.diff(matrix.indptr))


def expand(matrix: Compressed) -> F32:
    """The (rows, cols) float32 array with its zeros; elements of one place are added."""
    return np.asarray(to_scipy(matrix).toarray(), dtype=np.float32)


def turned(matrix: Compressed, axis: Axis) -> Compressed:
    """The same matrix compressed along `axis`: CSR to CSC or back, sorted, in linear time.

    Elements that share a place stay apart, in the order in which they were stored. The parts are
    trusted (see tensors.check).

    Raises:
        ValueError: the values are codes, whose scales belong to the lines of the old axis.
    """
    if matrix.axis is axis:
        return matrix
    if matrix.scale is not None:
        raise ValueError("scales belong to the lines that are stored; use widened(matrix) first")
    indptr, lines, moved = order.grouped(matrix.indptr, matrix.indices, matrix.places)
    return Compressed(axis, matrix.shape, indptr, lines, matrix.values[moved])


def canonical(matrix: Compressed, *, drop_zeros: bool = False) -> Compressed:
    """Each line sorted, elements of one place added in the order they are stored; linear time.

    A matrix that is canonical already is returned as it is.

    Args:
        matrix: any.
        drop_zeros: whether elements of value zero are left out; otherwise they stay stored.

    Raises:
        ValueError: the parts do not fit (see tensors.check), or narrow values would have to be
            added.
    """
    to_tensor(matrix)
    if not order.ascending(matrix.indptr, matrix.indices, repeats=True):
        moved = order.by_place(matrix.indptr, matrix.indices, matrix.places)
        matrix = replace(matrix, indices=matrix.indices[moved], values=matrix.values[moved])
    if not order.ascending(matrix.indptr, matrix.indices, repeats=False):
        matrix = _added(matrix)
    return _without_zeros(matrix) if drop_zeros else matrix


def by_rows(matrix: Compressed) -> Compressed:
    """The canonical CSR matrix of float32 values and int32 indices that packing starts from.

    Raises:
        ValueError: the parts do not fit (see tensors.check).
    """
    to_tensor(matrix)
    wide = turned(widened(matrix), Axis.ROWS)
    return canonical(replace(wide, indices=wide.indices.astype(np.int32, copy=False)))


def spmm(matrix: Compressed, x: F32) -> F64:
    """The product of a sparse and a dense matrix, in the order in which elements are stored.

    Each product and each sum is a float64, for the caller to round once; an absent element takes
    no part, so what x holds opposite to it (NaN included) does not matter.

    Args:
        matrix: (rows, cols).
        x: (cols, n) float32.

    Returns:
        (rows, n) float64.

    Raises:
        ValueError: x has not one row per column of the matrix.
    """
    if x.ndim != 2 or x.shape[0] != matrix.shape[1]:
        raise ValueError(f"x must be ({matrix.shape[1]}, n), got shape {x.shape}")
    wide = to_scipy(matrix).astype(np.float64)
    return np.asarray(wide @ x.astype(np.float64), dtype=np.float64)


def to_tensor(matrix: Compressed) -> Tensor:
    """The matrix as a CSR or CSC tensor over the same arrays.

    Raises:
        ValueError: the parts do not fit (see tensors.check).
    """
    parts: dict[str, Array] = {
        "indptr": matrix.indptr,
        "indices": matrix.indices,
        "values": matrix.values,
    }
    if matrix.scale is not None:
        parts["scale"] = matrix.scale
    held = dtypes.of(matrix.values)
    return check.tensor(Tensor(_LAYOUTS[matrix.axis], held, matrix.shape, parts))


def from_tensor(tensor: Tensor) -> Compressed:
    """A CSR or CSC tensor as a matrix over the same arrays, copied only where they have strides.

    The parts are trusted (see tensors.check).

    Raises:
        ValueError: another layout.
    """
    if tensor.layout not in _LAYOUTS:
        raise ValueError(f"expected csr or csc, got {tensor.layout} {tensor.dtype}")
    rows, cols = tensor.shape
    parts = {name: np.ascontiguousarray(part) for name, part in tensor.parts.items()}
    return Compressed(
        Axis(_LAYOUTS.index(tensor.layout)),
        (rows, cols),
        parts["indptr"].view(np.int32),
        indices_of(parts["indices"]),
        parts["values"].view(tensor.dtype.numpy.type),
        parts["scale"].view(np.float32) if "scale" in parts else None,
    )


def indices_of(array: Array) -> Indices:
    """A part that the checks let through, as what it is: uint16 or int32."""
    return array.view(np.uint16) if array.dtype == np.uint16 else array.view(np.int32)


def to_scipy(
    matrix: Compressed,
) -> "sparse.csr_array[np.float32] | sparse.csc_array[np.float32]":
    """The matrix as scipy's csr_array or csc_array of float32.

    Arrays are shared where scipy computes with their type: float32 values, int32 indices. Narrow
    ones are widened.
    """
    kind = sparse.csr_array if matrix.axis is Axis.ROWS else sparse.csc_array
    parts = (_widened(matrix), matrix.indices, matrix.indptr)
    return kind(parts, shape=matrix.shape, copy=False)


def from_scipy(
    matrix: "sparse.csr_array[np.float32] | sparse.csc_array[np.float32]",
) -> Compressed:
    """A scipy csr_array or csc_array as our structure; arrays of the right types are shared.

    Args:
        matrix: float32 or float16 of any byte order; order and repeats as they are.

    Raises:
        ValueError: another format, other values, indices that do not fit int32, or parts that do
            not fit together (see tensors.check).
    """
    if matrix.format not in ("csr", "csc"):
        raise ValueError(f"expected csr or csc, got {matrix.format}; use its tocsr()")
    if matrix.ndim != 2:
        raise ValueError(f"a sparse matrix has two dimensions, got shape {matrix.shape}")
    axis = Axis.ROWS if matrix.format == "csr" else Axis.COLUMNS
    rows, cols = matrix.shape
    stored = order.stored(matrix.indptr, matrix.data, matrix.indices)
    made = Compressed(
        axis,
        (rows, cols),
        order.int32("indptr", matrix.indptr),
        order.int32("indices", matrix.indices[:stored]),
        order.floats(matrix.data[:stored]),
    )
    to_tensor(made)
    return made


def _added(matrix: Compressed) -> Compressed:
    """A sorted matrix with its repeats added one after the other in float32, as scipy does."""
    if matrix.values.dtype != np.float32:
        repeats = "elements that share a place cannot be added"
        raise ValueError(f"{repeats} as {matrix.values.dtype}; use widened(matrix) first")
    held = to_scipy(matrix).copy()
    held.sum_duplicates()
    summed = from_scipy(held)
    return replace(summed, indices=summed.indices.astype(matrix.indices.dtype, copy=False))


def _without_zeros(matrix: Compressed) -> Compressed:
    kept = matrix.values != 0
    if kept.all():
        return matrix
    before = np.concatenate([[0], np.cumsum(kept)])
    indptr = before[matrix.indptr].astype(np.int32)
    return replace(matrix, indptr=indptr, indices=matrix.indices[kept], values=matrix.values[kept])
