"""Packing: every layout holds the matrix it was made of, and comes back from every other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sparse import bitmask, block, compressed, convert, nm, sell, triplets
from shared.tensors import check, packing
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import SPARSE, Layout, dense
from tests.numerics import sparse_samples as samples

BLOCKS = st.tuples(st.integers(1, 5), st.integers(1, 7))


@given(samples.MATRICES, st.sampled_from(samples.ANY), st.sampled_from(samples.ANY), BLOCKS)
def test_any_layout_becomes_any_other_and_nothing_changes(
    matrix: F32, first: Layout, second: Layout, size: tuple[int, int]
) -> None:
    one = check.tensor(convert.to_layout(dense(matrix), first, block=size))

    two = check.tensor(convert.to_layout(one, second, block=size[::-1]))

    np.testing.assert_array_equal(convert.to_dense(two), matrix)


@pytest.mark.parametrize("layout", sorted(SPARSE))
@pytest.mark.parametrize("name", samples.awkward())
def test_what_is_packed_means_the_same_matrix(name: str, layout: Layout) -> None:
    matrix = samples.awkward()[name]

    held = check.tensor(convert.to_layout(dense(matrix), layout))

    # scipy adds elements to zeros: NaN and infinity pass that unchanged
    np.testing.assert_array_equal(triplets.matrix(held).toarray(), matrix.astype(np.float64))
    samples.assert_same(
        convert.to_layout(convert.to_layout(held, Layout.CSR), layout),
        held,
    )


@given(samples.MATRICES, st.sampled_from(sorted(SPARSE - {Layout.CSR})), st.integers(0, 9))
def test_unsorted_and_repeated_elements_pack_to_the_same_tensor(
    matrix: F32, layout: Layout, seed: int
) -> None:
    odd = compressed.to_tensor(samples.shuffled(matrix, seed=seed))

    held = convert.to_layout(odd, layout)

    samples.assert_same(held, convert.to_layout(dense(matrix), layout))


def test_blocks_are_stored_whole_where_anything_is_in_them() -> None:
    #   blocks of 2 x 2      0 0 | 0 5 | 0
    #                        0 0 | 0 0 | 0
    #                        ----+-----+--    the last column and row of blocks
    #                        7 0 | 0 0 | 6    reach beyond the matrix
    matrix = np.array([[0, 0, 0, 5, 0], [0, 0, 0, 0, 0], [7, 0, 0, 0, 6]], np.float32)

    held = block.pack(samples.csr(matrix), block=(2, 2))

    assert held.parts["indptr"].tolist() == [0, 1, 3]
    assert held.parts["indices"].tolist() == [1, 0, 2]
    assert held.parts["values"].tolist() == [[[0, 5], [0, 0]], [[7, 0], [0, 0]], [[6, 0], [0, 0]]]


def test_blocks_of_the_sizes_that_kernels_use_hold_the_matrix() -> None:
    matrix = samples.random(200, 130, 0.05)

    for size in ((16, 16), (64, 64), (4, 32), (64, 1)):
        held = check.tensor(block.pack(samples.csr(matrix), block=size))

        assert held.parts["values"].shape[1:] == size
        np.testing.assert_array_equal(triplets.matrix(held).toarray(), matrix)


def test_slices_are_stored_lane_by_lane_longest_row_first() -> None:
    matrix = np.zeros((66, 4), np.float32)
    matrix[1] = [1, 2, 3, 0]
    matrix[65, 3] = 4

    held = sell.pack(samples.csr(matrix))

    # Row 1 (3 elements) comes first, then row 65 (1), then all others in their order. The first
    # slice is 3 wide: 3 x 64 places. The second holds the empty rows 63 and 64 and takes none.
    assert held.parts["order"][:4].tolist() == [1, 65, 0, 2]
    assert held.parts["lengths"][:3].tolist() == [3, 1, 0]
    assert held.parts["starts"].tolist() == [0, 192, 192]
    assert held.parts["values"][[0, 64, 128, 1]].tolist() == [1, 2, 3, 4]
    assert held.parts["indices"][[0, 64, 128, 1]].tolist() == [0, 1, 2, 3]


def test_sorting_windows_keep_rows_inside_them_and_pad_more() -> None:
    matrix = samples.random(300, 50, 0.2)

    near, far = (sell.pack(samples.csr(matrix), sigma=sigma) for sigma in (64, None))

    windows = near.parts["order"] // 64
    assert (np.diff(windows) >= 0).all()
    assert far.parts["values"].size < near.parts["values"].size
    np.testing.assert_array_equal(convert.to_dense(near), matrix)


def test_bits_say_where_values_are() -> None:
    matrix = np.zeros((2, 34), np.float32)
    matrix[0, [1, 33]] = [5, 6]

    held = bitmask.pack(samples.csr(matrix))

    assert held.parts["words"].tolist() == [[0b10, 0b10], [0, 0]]
    assert held.parts["starts"].tolist() == [0, 2, 2]
    assert held.parts["values"].tolist() == [5, 6]


def test_groups_keep_n_places_and_fill_the_first_free_ones_with_zeros() -> None:
    #                    group 0     | group 1     | group 2 has one column
    matrix = np.array([[0, 0, 3, 4, 0, 7, 0, 0, 9], [0] * 9], np.float32)

    held = nm.pack(samples.csr(matrix), pattern=(2, 4))

    places = packing.split_nibbles(held.parts["positions"].view(np.uint8), 6)
    assert held.parts["pattern"].tolist() == [2, 4]
    assert places.tolist() == [[2, 3, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0]]
    assert held.parts["values"].tolist() == [[3, 4, 0, 7, 9, 0], [0] * 6]


@pytest.mark.parametrize("pattern", [(1, 1), (1, 4), (2, 4), (3, 7), (4, 16), (16, 16), (1, 16)])
def test_every_pattern_holds_what_was_pruned_to_it(pattern: tuple[int, int]) -> None:
    n, m = pattern
    rng = np.random.default_rng(1)
    matrix = np.zeros((20, 5 * m), np.float32)
    for row in range(20):
        for group in range(5):
            columns = group * m + rng.permutation(m)[: rng.integers(0, n + 1)]
            matrix[row, columns] = rng.integers(1, 9, columns.size)
    matrix = matrix[:, : 5 * m - m // 2]  # the last group is cut

    held = check.tensor(nm.pack(samples.csr(matrix), pattern=pattern))

    np.testing.assert_array_equal(triplets.matrix(held).toarray(), matrix)
    np.testing.assert_array_equal(convert.to_dense(held), matrix)


def test_pattern_that_nobody_names_is_the_smallest_of_four() -> None:
    held = convert.to_layout(dense(np.array([[1, 0, 0, 2], [0, 0, 0, 0]], np.float32)), Layout.NM)

    assert held.parts["pattern"].tolist() == [2, 4]


def test_group_that_is_too_full_is_named() -> None:
    matrix = np.zeros((3, 12), np.float32)
    matrix[1, [4, 5, 7]] = 1

    with pytest.raises(ValueError, match=r"row 1, group 1 \(columns 4 to 7\) has 3 elements"):
        nm.pack(samples.csr(matrix), pattern=(2, 4))


def test_elements_stored_as_zero_stay_stored_where_the_layout_can_tell() -> None:
    matrix = compressed.to_tensor(compressed.compress(np.ones((2, 3), np.float32)))
    zeroed = compressed.from_tensor(matrix)
    zeroed.values[1] = 0

    for layout in (Layout.CSC, Layout.SELL, Layout.BITMASK):
        again = convert.to_csr(convert.to_layout(matrix, layout))
        assert again.nonzeros == 6
    for layout in (Layout.BLOCK, Layout.NM):
        assert convert.to_csr(convert.to_layout(matrix, layout)).nonzeros == 5


def test_padding_of_foreign_blocks_is_not_read() -> None:
    held = block.pack(samples.csr(np.ones((1, 1), np.float32)), block=(2, 2))
    held.parts["values"].view(np.float32)[0, 1, 1] = np.nan

    assert convert.to_dense(held).tolist() == [[1]]


def test_form_of_a_layout_is_changed_only_where_it_differs() -> None:
    blocks = convert.to_layout(dense(samples.random(40, 40, 0.1)), Layout.BLOCK, block=(4, 8))

    same = convert.to_layout(blocks, Layout.BLOCK, block=(4, 8))
    other = convert.to_layout(blocks, Layout.BLOCK, block=(8, 4))

    assert same is blocks
    assert other.parts["values"].shape[1:] == (8, 4)
    np.testing.assert_array_equal(convert.to_dense(other), convert.to_dense(blocks))


def test_short_indices_stay_short_on_the_way() -> None:
    matrix = compressed.compress(samples.random(20, 30, 0.2))
    short = matrix.indices.astype(np.uint16)
    tensor = compressed.to_tensor(
        compressed.Compressed(matrix.axis, matrix.shape, matrix.indptr, short, matrix.values)
    )

    for layout in (Layout.CSC, Layout.SELL, Layout.BLOCK):
        assert convert.to_layout(tensor, layout).parts["indices"].dtype == np.uint16
    assert convert.to_csr(tensor).indices.dtype == np.int32


@pytest.mark.parametrize("layout", [Layout.INT8_CHANNEL, Layout.INT4_GROUP, Layout.SPIKE_BITS])
def test_layouts_that_are_not_sparse_are_refused(layout: Layout) -> None:
    with pytest.raises(ValueError, match=f"{layout} is no layout of a sparse matrix"):
        convert.to_layout(dense(np.ones((2, 2), np.float32)), layout)


def test_dense_types_without_a_sparse_form_are_refused() -> None:
    with pytest.raises(ValueError, match="must be f32 or f16 here, got i32"):
        convert.to_layout(dense(np.ones((2, 2), np.int32)), Layout.CSR)


def test_half_precision_matrix_stays_one() -> None:
    matrix = dense(np.array([[0, 0.5], [2, 0]], np.float16))

    held = convert.to_layout(matrix, Layout.SELL)

    assert held.dtype is Dtype.F16
    assert convert.to_dense(held).tolist() == [[0, 0.5], [2, 0]]
