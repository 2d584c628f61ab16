"""Compressed sparse matrices: CSR and CSC as one structure that differs in the compressed axis.

The elements of line i (a row for CSR, a column for CSC) are `values[indptr[i]:indptr[i + 1]]`, and
`indices` says where on the other axis each one lies. Order within a line is free, and elements that
share a place add up, as in scipy; what this module makes is sorted and free of repeats.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.tensors import check, requirements
from shared.tensors.dtypes import F32, I32, Dtype
from shared.tensors.layouts import Layout, Tensor

F64 = npt.NDArray[np.float64]


class Axis(IntEnum):
    """The axis whose lines are stored one after another."""

    ROWS = 0  # CSR
    COLUMNS = 1  # CSC


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A sparse float32 matrix. The transpose is the same arrays under the other axis."""

    axis: Axis
    shape: tuple[int, int]
    indptr: I32  # (lines + 1,)
    indices: I32  # (nonzeros,)
    values: F32  # (nonzeros,)

    @property
    def nonzeros(self) -> int:
        """Stored elements."""
        return self.indices.size

    @property
    def transposed(self) -> "Compressed":
        """The transposed matrix; nothing is copied."""
        rows, cols = self.shape
        return Compressed(Axis(1 - self.axis), (cols, rows), self.indptr, self.indices, self.values)


def compress(matrix: F32, *, axis: Axis = Axis.ROWS) -> Compressed:
    """Store the elements that are not zero; NaN is not zero.

    Args:
        matrix: (rows, cols) float32.
        axis: ROWS for CSR, COLUMNS for CSC.

    Raises:
        ValueError: not two dimensions, or more elements than int32 can count.
    """
    if matrix.ndim != 2:
        raise ValueError(f"a sparse matrix has two dimensions, got shape {matrix.shape}")
    oriented = matrix if axis is Axis.ROWS else matrix.T
    lines, places = np.nonzero(oriented)
    if places.size > requirements.MAX_INDEX:
        raise ValueError(
            f"at most {requirements.MAX_INDEX} elements can be stored, got {places.size}"
        )
    indptr = np.zeros(oriented.shape[0] + 1, dtype=np.int32)
    np.cumsum(np.bincount(lines, minlength=oriented.shape[0]), out=indptr[1:])
    rows, cols = matrix.shape
    values = oriented[lines, places].astype(np.float32, copy=False)
    return Compressed(axis, (rows, cols), indptr, places.astype(np.int32), values)


def expand(matrix: Compressed) -> F32:
    """The (rows, cols) float32 array with its zeros; elements of one place are added."""
    return np.asarray(to_scipy(matrix).toarray(), dtype=np.float32)


def turned(matrix: Compressed, axis: Axis) -> Compressed:
    """The same matrix compressed along `axis`: CSR to CSC or back, sorted, in linear time."""
    if matrix.axis is axis:
        return matrix
    held = to_scipy(matrix)
    return from_scipy(held.tocsr() if axis is Axis.ROWS else held.tocsc())


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
    """The matrix as a CSR tensor over the same arrays.

    Raises:
        ValueError: the matrix is compressed by columns; turn it first.
    """
    if matrix.axis is not Axis.ROWS:
        raise ValueError("a CSR tensor needs compressed rows; use turned(matrix, Axis.ROWS)")
    parts = {"indptr": matrix.indptr, "indices": matrix.indices, "values": matrix.values}
    return check.tensor(Tensor(Layout.CSR, Dtype.F32, matrix.shape, parts))


def from_tensor(tensor: Tensor) -> Compressed:
    """A CSR tensor as a matrix over the same arrays; the parts are trusted (see tensors.check).

    Raises:
        ValueError: another layout or element type.
    """
    if tensor.layout is not Layout.CSR or tensor.dtype is not Dtype.F32:
        raise ValueError(f"expected csr f32, got {tensor.layout} {tensor.dtype}")
    rows, cols = tensor.shape
    indptr, indices = tensor.parts["indptr"], tensor.parts["indices"]
    values = tensor.parts["values"].view(np.float32)
    return Compressed(
        Axis.ROWS, (rows, cols), indptr.view(np.int32), indices.view(np.int32), values
    )


def to_scipy(
    matrix: Compressed,
) -> "sparse.csr_array[np.float32] | sparse.csc_array[np.float32]":
    """The matrix as scipy's csr_array or csc_array over the same arrays."""
    kind = sparse.csr_array if matrix.axis is Axis.ROWS else sparse.csc_array
    return kind((matrix.values, matrix.indices, matrix.indptr), shape=matrix.shape, copy=False)


def from_scipy(
    matrix: "sparse.csr_array[np.float32] | sparse.csc_array[np.float32]",
) -> Compressed:
    """A scipy csr_array or csc_array as our structure; arrays of the right types are shared.

    Raises:
        ValueError: values are not float32, or indices do not fit int32.
    """
    if matrix.dtype != np.float32:
        raise ValueError(f"values must be float32, got {matrix.dtype}; convert them first")
    if max(matrix.nnz, *matrix.shape) > requirements.MAX_INDEX:
        raise ValueError(f"{matrix.shape} with {matrix.nnz} elements does not fit int32 indices")
    axis = Axis.ROWS if matrix.format == "csr" else Axis.COLUMNS
    rows, cols = matrix.shape
    return Compressed(
        axis,
        (rows, cols),
        np.asarray(matrix.indptr, dtype=np.int32),
        np.asarray(matrix.indices, dtype=np.int32),
        matrix.data,
    )
