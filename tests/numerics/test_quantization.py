"""Weights to integers: exact rules, and the bound that follows from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.quantization import affine
from shared.quantization import scheme as schemes
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
SYMMETRIC = [INT8_PER_CHANNEL, int4_per_group(4), int4_per_group(2)]
SYMMETRIC += [schemes.of(3, 4), schemes.of(7), schemes.of(8, 2), schemes.of(5, "tensor")]
ASYMMETRIC = [
    schemes.of(bits, sharing, symmetric=False)
    for bits, sharing in ((2, 4), (4, 4), (5, "row"), (8, 2), (8, "tensor"))
]


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


@given(WEIGHTS, st.sampled_from(SYMMETRIC + ASYMMETRIC))
def test_no_weight_moves_by_more_than_half_a_step(weight: F32, scheme: Scheme) -> None:
    tensor = check.tensor(affine.quantize(weight, scheme))

    moved = np.abs(weight.astype(np.float64) - affine.dequantize(tensor))
    scale = affine.grid(weight, scheme).scale.astype(np.float64)
    bound = affine.spread(scale, weight.shape) / 2
    largest = np.abs(weight).max(initial=0) if not scheme.symmetric else np.abs(weight)
    rounding = np.finfo(np.float32).eps * largest * 2  # of the scale, and of step × scale
    assert (moved <= bound + rounding).all()


@given(WEIGHTS, st.sampled_from(SYMMETRIC))
def test_codes_are_symmetric_and_the_largest_weight_gets_the_top_code(
    weight: F32, scheme: Scheme
) -> None:
    steps = affine.steps(affine.quantize(weight, scheme))
    mirrored = affine.steps(affine.quantize(-weight, scheme))

    np.testing.assert_array_equal(steps, -mirrored)
    assert np.abs(steps).max(initial=0) <= scheme.top


@given(WEIGHTS, st.sampled_from(SYMMETRIC))
def test_quantizing_again_what_was_quantized_changes_no_code(weight: F32, scheme: Scheme) -> None:
    tensor = affine.quantize(weight, scheme)

    again = affine.quantize(affine.dequantize(tensor), scheme)

    np.testing.assert_array_equal(affine.steps(again), affine.steps(tensor))


@given(WEIGHTS, st.sampled_from(ASYMMETRIC))
def test_given_the_same_grid_what_was_quantized_stays(weight: F32, scheme: Scheme) -> None:
    grid = affine.grid(weight, scheme)
    tensor = affine.with_grid(weight, grid, scheme)

    again = affine.with_grid(affine.dequantize(tensor), grid, scheme)

    np.testing.assert_array_equal(affine.steps(again), affine.steps(tensor))


@given(WEIGHTS, st.sampled_from(SYMMETRIC + ASYMMETRIC))
def test_zero_stays_exactly_zero(weight: F32, scheme: Scheme) -> None:
    values = affine.dequantize(affine.quantize(weight, scheme))

    assert not values[weight == 0].any()


def test_asymmetric_codes_cover_just_what_a_group_holds() -> None:
    # -1 to 2 in three steps of 1: zero is code 1; 0.5 is half a step and goes to the even one, 0
    weight = np.array([[-1, 2, 0.5, 0]], dtype=np.float32)

    tensor = affine.quantize(weight, schemes.of(2, symmetric=False))

    assert tensor.parts["scale"].tolist() == [[1]]
    assert tensor.parts["zero"].tolist() == [[1]]
    assert affine.unsigned(tensor).tolist() == [[0, 3, 1, 1]]
    assert tensor.parts["codes"].tolist() == [[0b01_01_11_00]]  # the first code lowest
    assert affine.dequantize(tensor).tolist() == [[-1, 2, 0, 0]]


def test_codes_of_weights_above_zero_lose_nothing_to_a_sign() -> None:
    weight = np.linspace(0, 1, 256, dtype=np.float32)[np.newaxis]

    even, skewed = (
        np.abs(affine.dequantize(affine.quantize(weight, scheme)) - weight).max()
        for scheme in (schemes.of(4), schemes.of(4, symmetric=False))
    )

    assert skewed < even / 2  # 15 steps in place of 7


def test_one_scale_may_stand_for_a_whole_tensor() -> None:
    weight = np.array([[127, -64], [1, 0]], dtype=np.float32)

    tensor = check.tensor(affine.quantize(weight, schemes.of(8, "tensor")))

    assert tensor.parts["scale"].tolist() == [[1]]
    assert tensor.nbytes == 4 + 4 + 1 + 1  # codes, the scale, its zero, the number of bits
    assert affine.steps(tensor).tolist() == [[127, -64], [1, 0]]


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_weight_takes_as_many_bits_as_it_is_given(bits: int) -> None:
    weight = np.ones((16, 256), dtype=np.float32)

    tensor = affine.quantize(weight, schemes.of(bits))

    codes = tensor.parts["codes"].nbytes
    assert codes == 16 * 256 * bits / 8
    assert tensor.nbytes <= codes + 16 * 4 + 2


@pytest.mark.parametrize(
    "scheme",
    [INT8_PER_CHANNEL, int4_per_group(1), schemes.of(3, symmetric=False)],
    ids=lambda s: s.layout,
)
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
    [
        (schemes.of(8), Layout.INT8_CHANNEL, 127),
        (schemes.of(4, 32), Layout.INT4_GROUP, 7),
        (schemes.of(4, None), Layout.INT4_GROUP, 7),
        (schemes.of(8, 64), Layout.INT_GROUP, 127),
        (schemes.of(3, 32), Layout.INT_GROUP, 3),
        (schemes.of(8, "tensor"), Layout.INT_GROUP, 127),
    ],
)
def test_scheme_knows_its_layout_and_its_largest_code(
    scheme: Scheme, layout: Layout, top: int
) -> None:
    assert (scheme.layout, scheme.top) == (layout, top)


def test_weights_from_the_smallest_to_the_largest_float_do_not_overflow() -> None:
    weight = np.array([[-1, 1], [-1, 0], [-1, 0.3]], np.float32) * np.finfo(np.float32).max

    values = affine.dequantize(affine.quantize(weight, schemes.of(8, symmetric=False)))

    assert np.isfinite(values).all()
    np.testing.assert_allclose(values, weight, rtol=0.01)
