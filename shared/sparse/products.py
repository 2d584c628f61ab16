"""Products around a sparse matrix, which stays sparse.

Products and sums are float64 and rounded once, where a result is float32. Elements that are not
stored take no part: NaN opposite to them does not show.
"""

import numpy as np

from shared.sparse import compressed, order
from shared.sparse.compressed import F64, Axis, Compressed
from shared.sparse.order import I64
from shared.tensors.dtypes import F32

CHUNK = 2**22  # products held at a time: 32 MiB


def transposed(matrix: Compressed, x: F32) -> F64:
    """The product of the transpose and a dense matrix; nothing is turned.

    Args:
        matrix: (rows, cols).
        x: (rows, n) float32.

    Returns:
        (cols, n) float64.

    Raises:
        ValueError: x has not one row per row of the matrix.
    """
    return compressed.spmm(matrix.transposed, x)


def sampled(pattern: Compressed, left: F32, right: F32) -> F64:
    """The product left rightᵀ at the places of `pattern` only (SDDMM).

    Args:
        pattern: (rows, cols); its values do not matter.
        left: (rows, k) float32.
        right: (cols, k) float32.

    Returns:
        (nonzeros,) float64 in the order of the stored elements: left[row] · right[col].

    Raises:
        ValueError: left or right has another shape.
    """
    rows, cols = pattern.shape
    if left.ndim != 2 or left.shape[0] != rows or right.shape != (cols, left.shape[1]):
        wanted = f"left and right must be ({rows}, k) and ({cols}, k)"
        raise ValueError(f"{wanted}, got {left.shape} and {right.shape}")
    return sampled_at(*places(pattern), left, right)


def sampled_at(rows: I64, cols: I64, left: F32 | F64, right: F32 | F64) -> F64:
    """left[row] · right[col] for pairs of a row and a column, in bounded memory.

    Args:
        rows: (pairs,) int64, rows of left.
        cols: (pairs,) int64, rows of right.
        left: (any, k) float32 or float64.
        right: (any, k) float32 or float64.

    Returns:
        (pairs,) float64.
    """
    wide, other = left.astype(np.float64), right.astype(np.float64)
    found = np.empty(rows.size, dtype=np.float64)
    step = max(CHUNK // max(left.shape[1], 1), 1)
    for start in range(0, found.size, step):
        part = slice(start, start + step)
        found[part] = np.einsum("ij,ij->i", wide[rows[part]], other[cols[part]])
    return found


def multiply(left: Compressed, right: Compressed) -> Compressed:
    """The product of two sparse matrices.

    Args:
        left: (rows, k), any axis and value type.
        right: (k, cols), any axis and value type.

    Returns:
        (rows, cols) CSR float32, canonical. A place where products meet is stored even if they
        add to zero.

    Raises:
        ValueError: the inner sizes differ, or more elements than int32 can count.
    """
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"cannot multiply {left.shape} by {right.shape}")
    wide, other = (
        compressed.to_scipy(compressed.by_rows(matrix)).astype(np.float64)
        for matrix in (left, right)
    )
    product = wide @ other
    with np.errstate(over="ignore"):  # too large becomes infinite
        return compressed.canonical(compressed.from_scipy(product.astype(np.float32)))


def places(matrix: Compressed) -> tuple[I64, I64]:
    """(nonzeros,) row and (nonzeros,) column of every stored element, in their order."""
    lines = order.lines(matrix.indptr).astype(np.int64)
    others = matrix.indices.astype(np.int64)
    return (lines, others) if matrix.axis is Axis.ROWS else (others, lines)
