"""Matrices for the tests of sparse layouts: random ones to search, and shapes that break things."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from shared.sparse import convert
from shared.sparse.compressed import Axis, Compressed
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense

ANY = (Layout.DENSE, *sorted(SPARSE))
BY_ROW = (Layout.CSR, Layout.SELL, Layout.BITMASK, Layout.NM)  # a scale per row
NARROW = (Dtype.F16, Dtype.I8)

# Numbers that float16 holds, so that nothing but a mistake changes them.
MATRICES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 9), st.integers(0, 40)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, -2.5, 3.0, 0.125]),
)


def random(rows: int, cols: int, share: float, *, seed: int = 0) -> F32:
    """(rows, cols) float32 from a normal distribution, of which about `share` are not zero."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, cols), dtype=np.float32)
    values[rng.random((rows, cols)) >= share] = 0
    return values


def awkward() -> dict[str, F32]:
    """Matrices that have broken sparse code before, by what is odd about them."""
    one_row, one_column = random(70, 90, 0.05), random(70, 90, 0.05)
    one_row[3], one_column[:, 88] = 1, 2
    gaps = random(200, 33, 0.1)
    gaps[::2] = 0
    nan = random(5, 40, 0.3)
    nan[2, 7], nan[4, 39] = np.nan, np.inf
    return {
        "no rows": np.zeros((0, 5), np.float32),
        "no columns": np.zeros((5, 0), np.float32),
        "nothing": np.zeros((0, 0), np.float32),
        "nothing stored": np.zeros((3, 70), np.float32),
        "one element": np.full((1, 1), 4, np.float32),
        "everything stored": random(65, 33, 1.0),
        "one dense row": one_row,
        "one dense column": one_column,
        "every other row empty": gaps,
        "exact slices": random(128, 64, 0.2),
        "not a number, infinite": nan,
    }


def csr(matrix: F32) -> Compressed:
    """The stored elements of a dense matrix."""
    return convert.to_csr(dense(matrix))


def stored(indptr: list[int], indices: list[int], values: list[float], *, cols: int) -> Tensor:
    """A CSR tensor of these parts, which nothing has checked."""
    parts = {
        "indptr": np.array(indptr, np.int32),
        "indices": np.array(indices, np.int32),
        "values": np.array(values, np.float32),
    }
    return Tensor(Layout.CSR, Dtype.F32, (len(indptr) - 1, cols), parts)


def shuffled(matrix: F32, *, seed: int = 0) -> Compressed:
    """CSR of the matrix in a random order along rows, each element split into two that add up."""
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(matrix)
    halves = matrix[rows, cols] / np.float32(2)
    line, place, value = np.tile(rows, 2), np.tile(cols, 2), np.tile(halves, 2)
    order = np.lexsort((rng.random(line.size), line))
    indptr = np.zeros(matrix.shape[0] + 1, np.int32)
    indptr[1:] = np.cumsum(np.bincount(line, minlength=matrix.shape[0]))
    shape = (matrix.shape[0], matrix.shape[1])
    return Compressed(Axis.ROWS, shape, indptr, place[order].astype(np.int32), value[order])


def scipy_csr(matrix: F32) -> "sparse.csr_array[np.float32]":
    """What scipy makes of a dense matrix."""
    return sparse.csr_array(matrix)


def assert_same(given: Tensor, expected: Tensor) -> None:
    """Equal layout, types, shape and every bit of every part (a NaN equals itself)."""
    assert given.type == expected.type
    assert given.parts.keys() == expected.parts.keys()
    for name, part in expected.parts.items():
        assert given.parts[name].dtype == part.dtype, name
        np.testing.assert_array_equal(given.parts[name], part, err_msg=name)
