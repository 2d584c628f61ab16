"""Values in 16 and 8 bits, indices in 16: how far what is read may be from what was stored."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.sparse import block, compressed, convert, narrow, sell, triplets
from shared.sparse.compressed import Axis, Compressed
from shared.tensors import check
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import COMPACT, SPARSE, Layout, Tensor, dense
from tests.numerics import sparse_samples as samples

FINITE = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 6), st.integers(0, 20)),
    elements=st.one_of(st.just(0.0), st.floats(-6e4, 6e4, width=32)),
)
LAYOUTS = st.sampled_from(sorted(SPARSE))


@given(FINITE, LAYOUTS)
def test_halves_are_the_nearest_ones(matrix: F32, layout: Layout) -> None:
    held = check.tensor(narrow.narrow(convert.to_layout(dense(matrix), layout), Dtype.F16))

    np.testing.assert_array_equal(convert.to_dense(held), matrix.astype(np.float16))


@given(FINITE, LAYOUTS)
def test_codes_are_off_by_half_a_step_of_their_line_at_most(matrix: F32, layout: Layout) -> None:
    wide = convert.to_layout(dense(matrix), layout, block=(2, 3))

    held = check.tensor(narrow.narrow(wide, Dtype.I8))

    read, stored = triplets.of(held), triplets.of(wide)
    largest = np.abs(held.parts["values"].view(np.int8).astype(np.int64)).max(initial=0)
    steps = triplets.of(replace_codes_by_one(held)).values
    assert largest <= 127
    assert (np.abs(read.values - stored.values) <= steps * (0.5 + 1e-5)).all()


@given(FINITE, st.sampled_from(samples.BY_ROW), st.sampled_from(samples.BY_ROW))
def test_codes_move_unchanged_between_layouts_with_a_scale_per_row(
    matrix: F32, first: Layout, second: Layout
) -> None:
    held = narrow.narrow(convert.to_layout(dense(matrix), first), Dtype.I8)

    moved = check.tensor(convert.to_layout(held, second))

    assert moved.dtype is Dtype.I8
    np.testing.assert_array_equal(moved.parts["scale"], held.parts["scale"])
    np.testing.assert_array_equal(convert.to_dense(moved), convert.to_dense(held))


@given(FINITE, LAYOUTS, LAYOUTS)
def test_codes_that_get_other_scales_are_off_by_half_a_step_again(
    matrix: F32, first: Layout, second: Layout
) -> None:
    held = narrow.narrow(convert.to_layout(dense(matrix), first), Dtype.I8)

    moved = check.tensor(convert.to_layout(held, second))

    step = moved.parts["scale"].view(np.float32).max(initial=0.0)
    error = np.abs(convert.to_dense(moved) - convert.to_dense(held)).max(initial=0.0)
    assert error <= step * (0.5 + 1e-5)


@given(FINITE, LAYOUTS, LAYOUTS)
def test_halves_move_unchanged_between_all_layouts(
    matrix: F32, first: Layout, second: Layout
) -> None:
    held = narrow.narrow(convert.to_layout(dense(matrix), first), Dtype.F16)

    moved = check.tensor(convert.to_layout(held, second))

    assert moved.dtype is Dtype.F16
    np.testing.assert_array_equal(convert.to_dense(moved), convert.to_dense(held))


def test_codes_of_a_full_matrix_are_those_of_quantization() -> None:
    matrix = samples.random(20, 30, 1.0)

    ours = narrow.narrow(convert.to_layout(dense(matrix), Layout.CSR), Dtype.I8)

    theirs = affine.quantize(matrix, INT8_PER_CHANNEL)
    np.testing.assert_array_equal(ours.parts["values"].reshape(20, 30), theirs.parts["codes"])
    np.testing.assert_array_equal(ours.parts["scale"], theirs.parts["scale"])


def test_scale_is_the_largest_of_its_line_over_127() -> None:
    matrix = np.array([[127, 0, -64], [0, 0, 0], [0, 2.54, 1.27]], np.float32)

    held = narrow.narrow(convert.to_layout(dense(matrix), Layout.CSR), Dtype.I8)

    # Row 0: step 1; row 1: the smallest normal number; row 2: 2.54 / 127 = 0.02, 1.27 is 63.5
    # steps, which rounds to the even 64 (or to 63 or 64 by what float32 makes of the quotient).
    np.testing.assert_allclose(held.parts["scale"][:, 0], [1, np.finfo(np.float32).tiny, 0.02])
    assert held.parts["values"][:3].tolist() == [127, -64, 127]
    assert held.parts["values"][3] in (63, 64)


def test_csc_has_a_scale_per_column_and_blocks_one_each() -> None:
    matrix = np.array([[127, 254], [0, 1]], np.float32)

    columns = narrow.narrow(convert.to_layout(dense(matrix), Layout.CSC), Dtype.I8)
    blocks = narrow.narrow(convert.to_layout(dense(matrix), Layout.BLOCK, block=(2, 1)), Dtype.I8)

    assert columns.parts["scale"].tolist() == [[1], [2]]
    assert blocks.parts["scale"].tolist() == [[1], [2]]


def test_transposing_codes_shares_every_array() -> None:
    held = narrow.narrow(convert.to_layout(dense(samples.random(9, 5, 0.5)), Layout.CSR), Dtype.I8)

    turned = compressed.to_tensor(compressed.from_tensor(held).transposed)

    assert turned.layout is Layout.CSC
    for name, part in held.parts.items():
        assert np.shares_memory(turned.parts[name], part)
    np.testing.assert_array_equal(convert.to_dense(turned), convert.to_dense(held).T)


@pytest.mark.parametrize("dtype", samples.NARROW)
def test_product_reads_narrow_values(dtype: Dtype) -> None:
    held = narrow.narrow(convert.to_layout(dense(samples.random(9, 5, 0.5)), Layout.CSR), dtype)
    x = samples.random(5, 3, 1.0, seed=1)

    y = compressed.spmm(compressed.from_tensor(narrow.compact(held)), x)

    np.testing.assert_allclose(y, triplets.product(held, x), rtol=1e-6, atol=1e-7)


def test_narrow_values_of_one_place_are_added_wide() -> None:
    parts = (
        np.array([0, 3], np.int32),
        np.array([1, 0, 1], np.int32),
        np.array([100, 5, 100], np.int8),
    )
    odd = Compressed(Axis.ROWS, (1, 2), *parts, np.array([[0.5]], np.float32))
    tensor = compressed.to_tensor(odd)

    # (100 + 100) × 0.5 = 100 has no code of 8 bits at scale 0.5, so it gets a new scale.
    assert convert.to_dense(tensor).tolist() == [[2.5, 100]]
    moved = convert.to_layout(tensor, Layout.SELL)
    np.testing.assert_allclose(convert.to_dense(moved), [[2.5, 100]], atol=0.4)
    with pytest.raises(ValueError, match=r"cannot be added as int8; use widened\(matrix\) first"):
        compressed.canonical(odd)


def test_wide_and_narrow_return_what_they_need_not_change() -> None:
    held = convert.to_layout(dense(samples.random(9, 5, 0.5)), Layout.SELL)
    halves = narrow.narrow(held, Dtype.F16)

    assert narrow.narrow(held, Dtype.F32) is held
    assert narrow.narrow(halves, Dtype.F16) is halves
    assert narrow.widen(held) is held.parts["values"] or np.shares_memory(
        narrow.widen(held), held.parts["values"]
    )
    assert halves.parts["indices"] is held.parts["indices"]


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_going_wide_keeps_what_was_read(layout: Layout) -> None:
    codes = narrow.narrow(convert.to_layout(dense(samples.random(70, 50, 0.1)), layout), Dtype.I8)

    wide = check.tensor(narrow.narrow(codes, Dtype.F32))

    assert wide.dtype is Dtype.F32
    np.testing.assert_array_equal(convert.to_dense(wide), convert.to_dense(codes))


def test_number_too_large_for_a_half_is_named_with_the_limit() -> None:
    held = convert.to_layout(dense(np.array([[1, 7e4]], np.float32)), Layout.CSR)

    with pytest.raises(ValueError, match=r"value 70000.0 is outside f16, whose limit is 65504"):
        narrow.narrow(held, Dtype.F16)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_number_that_is_not_finite_is_a_half_but_no_code(value: float) -> None:
    held = convert.to_layout(dense(np.array([[1, value]], np.float32)), Layout.CSR)

    halves = narrow.narrow(held, Dtype.F16)

    np.testing.assert_array_equal(convert.to_dense(halves), [[1, value]])
    with pytest.raises(ValueError, match="has no 8-bit code, which must be finite; use f16"):
        narrow.narrow(held, Dtype.I8)


def test_largest_and_smallest_numbers_keep_sound_scales() -> None:
    top = np.finfo(np.float32).max
    matrix = np.array([[top, -top], [1e-45, 0]], np.float32)

    held = check.tensor(narrow.narrow(convert.to_layout(dense(matrix), Layout.CSR), Dtype.I8))

    assert np.isfinite(convert.to_dense(held)).all()
    assert (held.parts["scale"] >= np.finfo(np.float32).tiny).all()


def test_other_types_and_layouts_are_refused() -> None:
    held = convert.to_layout(dense(np.eye(2, dtype=np.float32)), Layout.CSR)

    with pytest.raises(ValueError, match="stored as f32, f16 or i8, got bf16"):
        narrow.narrow(held, Dtype.BF16)
    with pytest.raises(ValueError, match="a dense tensor has no stored values; pack it first"):
        narrow.narrow(dense(np.eye(2)), Dtype.F16)


@pytest.mark.parametrize("layout", [Layout.CSR, Layout.CSC, Layout.SELL, Layout.BLOCK])
def test_short_indices_hold_the_same_matrix(layout: Layout) -> None:
    held = convert.to_layout(dense(samples.random(70, 50, 0.1)), layout)

    short = check.tensor(narrow.compact(held))

    assert short.parts["indices"].dtype == np.uint16
    np.testing.assert_array_equal(convert.to_dense(short), convert.to_dense(held))


def wide_matrix(cols: int) -> Tensor:
    parts = (np.array([0, 1], np.int32), np.array([cols - 1], np.int32), np.ones(1, np.float32))
    return compressed.to_tensor(Compressed(Axis.ROWS, (1, cols), *parts))


def test_axis_of_more_than_65536_places_keeps_its_indices() -> None:
    fits, over = wide_matrix(COMPACT), wide_matrix(COMPACT + 1)

    assert narrow.compact(fits).parts["indices"].tolist() == [65535]
    assert narrow.compact(over) is over
    blocks = block.pack(compressed.from_tensor(over), block=(1, 2))  # 32769 columns of blocks
    assert narrow.compact(blocks).parts["indices"].dtype == np.uint16


def test_layouts_without_indices_are_compact_already() -> None:
    for layout in (Layout.BITMASK, Layout.NM, Layout.DENSE):
        held = convert.to_layout(dense(np.eye(2, dtype=np.float32)), layout)
        assert narrow.compact(held) is held


def test_what_foreign_padding_of_slices_holds_does_not_matter() -> None:
    held = sell.pack(samples.csr(np.ones((2, 3), np.float32)))
    values = held.parts["values"].view(np.float32).copy()
    values[63::64] = np.nan  # lane 63 has no row
    odd = replace(held, parts={**held.parts, "values": values})

    codes = narrow.narrow(odd, Dtype.I8)

    assert codes.parts["values"].view(np.int8)[63] == 0
    np.testing.assert_array_equal(convert.to_dense(codes), np.ones((2, 3)))


def replace_codes_by_one(tensor: Tensor) -> Tensor:
    """The scale of every stored element, read as its value."""
    return replace(tensor, parts={**tensor.parts, "values": np.ones_like(tensor.parts["values"])})
