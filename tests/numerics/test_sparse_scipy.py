"""The same bits as scipy wherever scipy does the same thing, and the same memory where it can be.

Conversions move elements and are compared bit for bit. `expand` and `canonical` add repeated
elements in float32 in the order they are stored, as scipy's toarray does: bit for bit, too.
Products are float64 here and in scipy; they differ by the order of additions alone, at most
nonzeros of a row × 2^-53 of the sum of magnitudes: rtol 1e-12 below.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from shared.sparse import block, compressed, convert, products
from shared.sparse.compressed import Axis, Compressed
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Layout, dense
from tests.numerics import sparse_samples as samples

RANDOM = samples.random(96, 160, 0.1)


def assert_parts_equal(ours: Compressed, theirs: "sparse.csr_array[np.float32]") -> None:
    np.testing.assert_array_equal(ours.indptr, theirs.indptr)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    assert ours.values.tobytes() == theirs.data.tobytes()


@given(samples.MATRICES)
def test_turning_gives_the_parts_that_scipy_gives(matrix: F32) -> None:
    rows = sparse.csr_array(matrix)

    ours = compressed.turned(compressed.from_scipy(rows), Axis.COLUMNS)

    assert_parts_equal(ours, rows.tocsc())
    assert_parts_equal(compressed.turned(ours, Axis.ROWS), rows.tocsc().tocsr())


@given(samples.MATRICES, st.integers(0, 9))
def test_turning_unsorted_repeats_gives_the_parts_that_scipy_gives(matrix: F32, seed: int) -> None:
    odd = samples.shuffled(matrix, seed=seed)

    ours = compressed.turned(odd, Axis.COLUMNS)

    assert_parts_equal(ours, compressed.to_scipy(odd).tocsc())


@given(samples.MATRICES, st.integers(0, 9))
def test_canonical_form_is_scipys_with_repeats_added(matrix: F32, seed: int) -> None:
    odd = samples.shuffled(matrix, seed=seed)
    theirs = compressed.to_scipy(odd).copy()
    theirs.sum_duplicates()

    ours = compressed.canonical(odd)

    assert_parts_equal(ours, theirs)  # two halves: their sum does not depend on the order


def test_repeats_are_added_in_the_order_of_the_dense_array() -> None:
    parts = (np.array([1e8, 1, -1e8, 5], np.float32), np.array([3, 3, 3, 0]), np.array([0, 4]))
    odd = sparse.csr_array(parts, shape=(1, 4))

    ours = compressed.canonical(compressed.from_scipy(odd))

    # In float32 (1e8 + 1) - 1e8 = 0; in another order 1 would be left.
    assert ours.values.tolist() == [5, 0]
    np.testing.assert_array_equal(compressed.expand(ours), odd.toarray())


@pytest.mark.parametrize("size", [(16, 16), (8, 32), (96, 1), (1, 160)])
def test_blocks_are_those_of_scipy(size: tuple[int, int]) -> None:
    theirs = sparse.csr_array(RANDOM).tobsr(blocksize=size)
    theirs.sort_indices()

    ours = block.pack(samples.csr(RANDOM), block=size)

    np.testing.assert_array_equal(ours.parts["indptr"], theirs.indptr)
    np.testing.assert_array_equal(ours.parts["indices"], theirs.indices)
    assert ours.parts["values"].tobytes() == theirs.data.tobytes()
    back = theirs.tocsr()
    back.eliminate_zeros()
    assert_parts_equal(block.unpack(ours), back)


@pytest.mark.parametrize("name", samples.awkward())
def test_expanding_gives_the_array_that_scipy_gives(name: str) -> None:
    theirs = sparse.csr_array(samples.awkward()[name])

    ours = compressed.expand(compressed.from_scipy(theirs))

    assert ours.tobytes() == theirs.toarray().tobytes()


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array])
def test_csr_and_csc_share_memory_with_scipy_both_ways(kind: type) -> None:
    theirs = kind(RANDOM)

    ours = compressed.from_scipy(theirs)
    again = compressed.to_scipy(ours)

    for held in (
        (ours.indptr, ours.indices, ours.values),
        (again.indptr, again.indices, again.data),
    ):
        assert share(held, (theirs.indptr, theirs.indices, theirs.data)) == [True] * 3
    assert again.format == theirs.format


def test_blocks_share_memory_with_scipy_both_ways() -> None:
    theirs = sparse.bsr_array(RANDOM, blocksize=(8, 16))

    ours = block.from_scipy(theirs)
    again = block.to_scipy(ours)

    mine = [ours.parts[name] for name in ("indptr", "indices", "values")]
    for held in (mine, (again.indptr, again.indices, again.data)):
        assert share(held, (theirs.indptr, theirs.indices, theirs.data)) == [True] * 3


def test_tensor_and_transpose_share_memory() -> None:
    ours = samples.csr(RANDOM)

    tensor = compressed.to_tensor(ours.transposed)

    assert tensor.layout is Layout.CSC
    held = compressed.from_tensor(tensor)
    mine = (ours.indptr, ours.indices, ours.values)
    assert share((held.indptr, held.indices, held.values), mine) == [True] * 3


def test_what_scipy_cannot_compute_with_is_widened_and_the_rest_shared() -> None:
    ours = samples.csr(RANDOM)
    short = Compressed(
        Axis.ROWS,
        ours.shape,
        ours.indptr,
        ours.indices.astype(np.uint16),
        ours.values.astype(np.float16),
    )

    theirs = compressed.to_scipy(short)

    assert theirs.dtype == np.float32
    assert np.shares_memory(theirs.indptr, ours.indptr)
    np.testing.assert_array_equal(theirs.toarray(), RANDOM.astype(np.float16))


def test_half_precision_of_scipy_is_shared() -> None:
    parts = (np.array([0.5], np.float16), np.array([1], np.int32), np.array([0, 1], np.int32))
    theirs = sparse.csr_array(parts, shape=(1, 2))

    ours = compressed.from_scipy(theirs)

    assert np.shares_memory(ours.values, theirs.data)
    assert compressed.to_tensor(ours).dtype == "f16"


def test_blocks_that_do_not_divide_the_shape_stay_here() -> None:
    held = block.pack(samples.csr(np.ones((3, 4), np.float32)), block=(2, 2))

    with pytest.raises(ValueError, match=r"blocks that divide \(3, 4\), got \(2, 2\)"):
        block.to_scipy(held)


def test_products_are_those_of_scipy_in_float64() -> None:
    x = samples.random(160, 7, 1.0, seed=1)
    y = samples.random(96, 7, 1.0, seed=2)
    ours, theirs = samples.csr(RANDOM), sparse.csr_array(RANDOM).astype(np.float64)
    other = samples.random(160, 50, 0.1, seed=3)

    close(compressed.spmm(ours, x), theirs @ x.astype(np.float64))
    close(products.transposed(ours, y), theirs.T @ y.astype(np.float64))
    product = products.multiply(ours, samples.csr(other))
    wanted = theirs @ sparse.csr_array(other).astype(np.float64)
    wanted.sort_indices()
    np.testing.assert_array_equal(product.indices, wanted.indices)
    np.testing.assert_allclose(product.values, wanted.data, rtol=2**-24, atol=1e-38)


def test_a_dense_matrix_has_the_elements_that_scipy_finds() -> None:
    theirs = sparse.csr_array(RANDOM)

    assert_parts_equal(convert.to_csr(dense(RANDOM)), theirs)


def share(ours: "tuple[Array, ...] | list[Array]", theirs: "tuple[Array, ...]") -> list[bool]:
    return [np.shares_memory(one, two) for one, two in zip(ours, theirs, strict=True)]


def close(ours: Array, theirs: Array) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
