"""Compressed matrices against scipy and against their dense selves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from shared.sparse import compressed
from shared.sparse.compressed import Axis
from shared.tensors import check
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

MATRICES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 7), st.integers(0, 7)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5, 3.0]),
)
AXES = st.sampled_from(Axis)


def test_rows_are_stored_one_after_another() -> None:
    matrix = compressed.compress(np.array([[0, 5, 0], [0, 0, 0], [7, 0, 9]], np.float32))

    assert matrix.indptr.tolist() == [0, 1, 1, 3]
    assert matrix.indices.tolist() == [1, 0, 2]
    assert matrix.values.tolist() == [5, 7, 9]


def test_columns_are_the_rows_of_the_transpose() -> None:
    matrix = compressed.compress(
        np.array([[0, 5, 0], [0, 0, 0], [7, 0, 9]], np.float32), axis=Axis.COLUMNS
    )

    assert matrix.indptr.tolist() == [0, 1, 2, 3]
    assert matrix.indices.tolist() == [2, 0, 2]
    assert matrix.values.tolist() == [7, 5, 9]


@given(MATRICES, AXES)
def test_expanding_undoes_compressing(matrix: F32, axis: Axis) -> None:
    held = compressed.compress(matrix, axis=axis)

    assert held.nonzeros == np.count_nonzero(matrix)
    np.testing.assert_array_equal(compressed.expand(held), matrix)


@given(MATRICES)
def test_rows_and_columns_are_those_of_scipy(matrix: F32) -> None:
    for axis, theirs in ((Axis.ROWS, sparse.csr_array), (Axis.COLUMNS, sparse.csc_array)):
        held, expected = compressed.compress(matrix, axis=axis), theirs(matrix)

        np.testing.assert_array_equal(held.indptr, expected.indptr)
        np.testing.assert_array_equal(held.indices, expected.indices)
        np.testing.assert_array_equal(held.values, expected.data)


@given(MATRICES, AXES, AXES)
def test_turning_keeps_the_matrix(matrix: F32, axis: Axis, other: Axis) -> None:
    turned = compressed.turned(compressed.compress(matrix, axis=axis), other)

    assert turned.axis is other
    np.testing.assert_array_equal(compressed.expand(turned), matrix)


@given(MATRICES, AXES)
def test_transposing_shares_the_arrays(matrix: F32, axis: Axis) -> None:
    held = compressed.compress(matrix, axis=axis)

    turned = held.transposed

    assert turned.values is held.values
    np.testing.assert_array_equal(compressed.expand(turned), matrix.T)


@given(MATRICES, AXES, st.integers(0, 4), st.integers(0, 99))
def test_product_is_the_dense_one(matrix: F32, axis: Axis, n: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-4, 5, (matrix.shape[1], n)).astype(np.float32)

    y = compressed.spmm(compressed.compress(matrix, axis=axis), x)

    np.testing.assert_array_equal(y, matrix.astype(np.float64) @ x)  # small halves: sums are exact


def test_product_survives_cancellation_that_float32_does_not() -> None:
    matrix = compressed.compress(np.array([[1e8, 1.0, -1e8]], np.float32))

    y = compressed.spmm(matrix, np.ones((3, 1), np.float32))

    assert y.tolist() == [[1.0]]  # in float32 1e8 + 1 is 1e8 and the sum would be 0


def test_tensor_and_scipy_share_memory_both_ways() -> None:
    matrix = compressed.compress(np.eye(3, dtype=np.float32))

    theirs = compressed.to_scipy(matrix)
    back = compressed.from_scipy(theirs)
    through = compressed.from_tensor(compressed.to_tensor(matrix))

    for other in (back, through):
        for name in ("indptr", "indices", "values"):
            assert np.shares_memory(getattr(other, name), getattr(matrix, name))


@given(MATRICES)
def test_a_tensor_of_a_compressed_matrix_passes_the_checks_at_the_door(matrix: F32) -> None:
    tensor = compressed.to_tensor(compressed.compress(matrix))

    assert check.tensor(tensor).type.nonzeros == np.count_nonzero(matrix)


def test_scipy_matrix_with_unsorted_repeats_expands_to_their_sum() -> None:
    theirs = sparse.csr_array(
        (np.array([1, 2, 4], np.float32), np.array([2, 0, 2], np.int32), np.array([0, 3])),
        shape=(1, 3),
    )

    assert compressed.expand(compressed.from_scipy(theirs)).tolist() == [[2, 0, 5]]


def test_nan_is_stored() -> None:
    matrix = compressed.compress(np.array([[0, np.nan]], np.float32))

    assert matrix.indices.tolist() == [1]


def test_misfits_are_refused() -> None:
    eye = compressed.compress(np.eye(3, dtype=np.float32))

    with pytest.raises(ValueError, match=r"x must be \(3, n\), got shape \(2, 1\)"):
        compressed.spmm(eye, np.ones((2, 1), np.float32))
    with pytest.raises(ValueError, match="expected csr or csc, got dense f32"):
        compressed.from_tensor(dense(np.eye(3, dtype=np.float32)))
    with pytest.raises(ValueError, match="values must be float32 or float16, got float64"):
        compressed.from_scipy(sparse.csr_array(np.eye(3)))
    with pytest.raises(ValueError, match=r"two dimensions, got shape \(3,\)"):
        compressed.compress(np.ones(3, np.float32))
