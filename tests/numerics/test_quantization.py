"""Weights to integers: exact rules, and the bound that follows from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL, Scheme, int4_per_group
from shared.tensors import check
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, dense

WEIGHTS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 6), st.integers(0, 6).map(lambda groups: 4 * groups)),
    elements=st.floats(-1e6, 1e6, width=32)
    | st.floats(width=32, allow_nan=False, allow_infinity=False),  # subnormal to largest
)
SCHEMES = st.sampled_from([INT8_PER_CHANNEL, int4_per_group(4), int4_per_group(2)])


def test_a_row_is_rounded_half_to_even_in_steps_of_its_largest_over_127() -> None:
    # The largest is 127/128, so a step is 1/128: codes 127, -2.5 -> -2, 3.5 -> 4, 0
    weight = np.array([[127, -2.5, 3.5, 0]], dtype=np.float32) / 128

    tensor = affine.quantize(weight, INT8_PER_CHANNEL)

    assert tensor.parts["scale"].tolist() == [[1 / 128]]
    assert affine.codes(tensor).tolist() == [[127, -2, 4, 0]]
    assert affine.dequantize(tensor).tolist() == [[127 / 128, -2 / 128, 4 / 128, 0]]


def test_every_group_of_four_bits_has_its_own_step() -> None:
    # Largest 7 and 14 over a top code of 7: steps 1 and 2; 5/2 = 2.5 -> 2
    weight = np.array([[7, -1, 14, 5]], dtype=np.float32)

    tensor = affine.quantize(weight, int4_per_group(2))

    assert tensor.parts["scale"].tolist() == [[1, 2]]
    assert tensor.parts["codes"].tolist() == [[0xF7, 0x27]]  # 7 | -1 << 4, 7 | 2 << 4
    assert affine.dequantize(tensor).tolist() == [[7, -1, 14, 4]]


@given(WEIGHTS, SCHEMES)
def test_no_weight_moves_by_more_than_half_a_step(weight: F32, scheme: Scheme) -> None:
    tensor = check.tensor(affine.quantize(weight, scheme))

    moved = np.abs(weight.astype(np.float64) - affine.dequantize(tensor))
    scale = affine.scales(weight, scheme).astype(np.float64)
    bound = np.repeat(scale, weight.shape[1] // max(scale.shape[1], 1), axis=1) / 2
    rounding = np.finfo(np.float32).eps * np.abs(weight)  # of code × scale
    assert (moved <= bound + rounding).all()


@given(WEIGHTS, SCHEMES)
def test_codes_are_symmetric_and_the_largest_weight_gets_the_top_code(
    weight: F32, scheme: Scheme
) -> None:
    codes = affine.codes(affine.quantize(weight, scheme))
    mirrored = affine.codes(affine.quantize(-weight, scheme))

    np.testing.assert_array_equal(codes, -mirrored)
    assert np.abs(codes).max(initial=0) <= scheme.top


@given(WEIGHTS, SCHEMES)
def test_quantizing_again_what_was_quantized_changes_no_code(weight: F32, scheme: Scheme) -> None:
    tensor = affine.quantize(weight, scheme)

    again = affine.quantize(affine.dequantize(tensor), scheme)

    np.testing.assert_array_equal(affine.codes(again), affine.codes(tensor))


@pytest.mark.parametrize("scheme", [INT8_PER_CHANNEL, int4_per_group(1)], ids=lambda s: s.layout)
def test_the_largest_floats_do_not_become_infinite(scheme: Scheme) -> None:
    bits = np.finfo(np.float32).max.view(np.uint32) - np.arange(5000, dtype=np.uint32)
    weight = bits.view(np.float32).reshape(-1, 1)  # the 5000 largest, each a row of its own

    values = affine.dequantize(affine.quantize(weight, scheme))

    np.testing.assert_allclose(values, weight, rtol=1e-6)


def test_a_row_of_zeros_has_zero_codes_and_a_usable_scale() -> None:
    tensor = affine.quantize(np.zeros((1, 3), np.float32), INT8_PER_CHANNEL)

    assert affine.codes(tensor).tolist() == [[0, 0, 0]]
    assert tensor.parts["scale"] == np.finfo(np.float32).smallest_normal


def test_subnormal_weights_get_a_normal_scale() -> None:
    tensor = affine.quantize(np.full((1, 2), 1e-44, np.float32), INT8_PER_CHANNEL)

    assert tensor.parts["scale"] >= np.finfo(np.float32).smallest_normal
    assert affine.codes(tensor).tolist() == [[0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weight_that_is_not_finite_is_named(bad: float) -> None:
    weight = np.array([[0, 1], [2, bad]], dtype=np.float32)

    with pytest.raises(ValueError, match=rf"must be finite, \[1, 1\] is {bad}"):
        affine.quantize(weight, INT8_PER_CHANNEL)


def test_groups_that_do_not_divide_a_row_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of 4 do not divide rows of 6 columns"):
        affine.quantize(np.zeros((2, 6), np.float32), int4_per_group(4))


def test_group_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one column, got 0"):
        int4_per_group(0)


def test_only_matrices_are_quantized() -> None:
    with pytest.raises(ValueError, match=r"two dimensions, got shape \(3,\)"):
        affine.quantize(np.zeros(3, np.float32), INT8_PER_CHANNEL)


def test_a_dense_tensor_has_no_codes() -> None:
    with pytest.raises(ValueError, match="a dense tensor holds no integer codes"):
        affine.dequantize(dense(np.zeros((1, 1), np.float32)))


@pytest.mark.parametrize(
    ("scheme", "layout", "top"),
    [(INT8_PER_CHANNEL, Layout.INT8_CHANNEL, 127), (int4_per_group(32), Layout.INT4_GROUP, 7)],
)
def test_scheme_knows_its_layout_and_its_largest_code(
    scheme: Scheme, layout: Layout, top: int
) -> None:
    assert (scheme.layout, scheme.top) == (layout, top)
