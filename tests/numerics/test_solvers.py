"""Solvers lose less than rounding to nearest, and every correction leaves a layer's meaning."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.quantization import adaptive, affine, corrections, observers, scheme
from shared.quantization.adaptive import Option
from shared.quantization.scheme import Scheme
from shared.quantization.solvers import awq, gptq, hqq
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout

INT4 = scheme.int4_per_group(8)


def layer(seed: int, rows: int = 12, cols: int = 32) -> tuple[F32, F32]:
    """A weight, and inputs whose columns depend on each other and differ in size."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, cols)).astype(np.float32)
    mixed = rng.standard_normal((200, cols // 4)) @ rng.standard_normal((cols // 4, cols))
    x = (mixed + 0.1 * rng.standard_normal((200, cols))) * np.exp(rng.standard_normal(cols))
    return weight, x.astype(np.float32)


def gram(x: F32) -> np.ndarray:
    wide = x.astype(np.float64)
    return wide.T @ wide


SCHEMES = [scheme.of(2, 8), scheme.of(3, 8), scheme.of(4, 8), scheme.of(8), scheme.of(4, "tensor")]
SCHEMES += [scheme.of(bits, 8, symmetric=False) for bits in (2, 4, 8)]


@given(st.integers(0, 1000), st.booleans(), st.sampled_from(SCHEMES))
def test_gptq_is_never_worse_than_rounding_to_nearest(
    seed: int, act_order: bool, chosen: Scheme
) -> None:
    weight, x = layer(seed)

    found = gptq.quantize(weight, gram(x), chosen, act_order=act_order)

    nearest = affine.quantize(weight, chosen)
    assert gptq.loss(weight, found, gram(x)) <= gptq.loss(weight, nearest, gram(x))


def test_gptq_loses_far_less_where_inputs_depend_on_each_other() -> None:
    ratios = []
    for seed in range(10):
        weight, x = layer(seed, cols=300)
        found = gptq.quantize(weight, gram(x), scheme.int4_per_group(20))
        nearest = affine.quantize(weight, scheme.int4_per_group(20))
        ratios.append(gptq.loss(weight, found, gram(x)) / gptq.loss(weight, nearest, gram(x)))

    assert np.mean(ratios) < 0.5


def test_gptq_of_two_columns_is_what_the_paper_says() -> None:
    weight = np.array([[0.4, 1.0]], dtype=np.float32)
    moments = np.array([[1.0, 0.9], [0.9, 1.0]])
    one_step = scheme.Scheme(Layout.INT4_GROUP, 2, None)  # codes -1, 0, 1 and a scale of 1

    found = gptq.quantize(weight, moments, one_step, act_order=False, damping=1e-9)

    # 0.4 rounds to 0; the error of 0.4 moves 0.4 × 0.9 / 1 to the second: 1.36, clipped to 1
    assert affine.codes(found).tolist() == [[0, 1]]


def test_gptq_with_equal_uncorrelated_inputs_is_rounding_to_nearest() -> None:
    weight, _ = layer(3)

    found = gptq.quantize(weight, np.eye(32), INT4)

    assert affine.codes(found).tolist() == affine.codes(affine.quantize(weight, INT4)).tolist()


@pytest.mark.parametrize("degenerate", ["nothing", "rank_one", "one_dead_column"])
def test_gptq_takes_inputs_that_say_little(degenerate: str) -> None:
    weight, x = layer(4)
    if degenerate == "nothing":
        x[:] = 0
    elif degenerate == "rank_one":
        x[:] = x[:1]
    else:
        x[:, 5] = 0

    found = gptq.quantize(weight, gram(x), INT4)

    assert np.isfinite(affine.dequantize(found)).all()
    nearest = affine.quantize(weight, INT4)
    assert gptq.loss(weight, found, gram(x)) <= gptq.loss(weight, nearest, gram(x))


def test_gptq_refuses_moments_that_do_not_fit() -> None:
    weight, x = layer(5)

    with pytest.raises(ValueError, match=r"is \(32, 32\), got \(31, 31\)"):
        gptq.quantize(weight, gram(x)[:31, :31], INT4)
    with pytest.raises(ValueError, match="must be finite"):
        gptq.quantize(weight, np.full((32, 32), np.nan), INT4)
    with pytest.raises(ValueError, match="damping must be positive, got 0"):
        gptq.quantize(weight, gram(x), INT4, damping=0)


@given(st.integers(0, 1000))
def test_scaled_columns_lose_no_more_than_unscaled_ones(seed: int) -> None:
    weight, x = layer(seed)

    found = awq.search(weight, gram(x), len(x), INT4)

    effective = affine.dequantize(found.weight) / found.scales
    off = x @ (weight - effective).T
    plain = x @ (weight - affine.dequantize(affine.quantize(weight, INT4))).T
    assert np.square(off).sum() <= 1.001 * np.square(plain).sum()
    assert (found.scales > 0).all()


def test_scaling_helps_where_few_inputs_are_large() -> None:
    weight, x = layer(1, cols=64)
    x[:, ::16] *= 30

    assert awq.search(weight, gram(x), len(x), INT4).exponent > 0


@given(st.integers(0, 1000), st.sampled_from(SCHEMES))
def test_fitted_scales_and_zeros_have_no_larger_error_of_their_norm(
    seed: int, chosen: Scheme
) -> None:
    weight, _ = layer(seed)
    weight[:, ::7] *= 8  # outliers

    found = hqq.quantize(weight, chosen)

    nearest = affine.quantize(weight, chosen)
    assert hqq._error(weight, found) <= hqq._error(weight, nearest)


def test_fitted_scales_pay_on_heavy_tails() -> None:
    weight = np.random.default_rng(2).standard_t(3, (32, 256)).astype(np.float32)
    chosen = scheme.int4_per_group(64)

    found, nearest = hqq.quantize(weight, chosen), affine.quantize(weight, chosen)

    assert hqq._error(weight, found) < 0.97 * hqq._error(weight, nearest)


def test_a_fitted_zero_pays_where_one_tail_is_heavier() -> None:
    weight = np.random.default_rng(2).gumbel(size=(32, 256)).astype(np.float32)
    chosen = scheme.of(3, 64, symmetric=False)

    found, nearest = hqq.quantize(weight, chosen), affine.quantize(weight, chosen)

    assert hqq._error(weight, found) < 0.97 * hqq._error(weight, nearest)


@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (4, 0), (0, 8)])
def test_layers_of_zeros_of_one_channel_and_of_nothing_are_rounded(shape: tuple[int, int]) -> None:
    weight = np.zeros(shape, np.float32)
    chosen = scheme.of(4, None)

    for found in (
        hqq.quantize(weight, chosen),
        gptq.quantize(weight, np.eye(shape[1]), chosen),
        awq.search(weight, np.eye(shape[1]), 1, chosen).weight,
    ):
        assert affine.codes(found).shape == shape
        assert not affine.codes(found).any()


def test_the_mean_of_the_output_stays() -> None:
    weight, x = layer(6)
    rounded = affine.quantize(weight, scheme.of(3, 8))

    shift = corrections.bias_shift(weight, rounded, x.astype(np.float64).mean(axis=0))

    before, after = x @ weight.T, x @ affine.dequantize(rounded).T + shift
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-3)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_smoothing_leaves_the_product(seed: int, alpha: float) -> None:
    weight, x = layer(seed)

    scales = corrections.smooth(np.abs(x).max(axis=0), weight, alpha)

    np.testing.assert_allclose(
        (x / scales) @ (weight * scales).T, x @ weight.T, rtol=1e-3, atol=1e-2
    )


def test_half_of_the_difficulty_moves() -> None:
    scales = corrections.smooth(np.float32([16, 4]), np.float32([[1, -1], [0.5, 0.25]]), 0.5)

    assert scales.tolist() == [4.0, 2.0]  # sqrt(16 / 1), sqrt(4 / 1)


def test_the_share_that_is_found_loses_less_than_none_when_one_input_is_large() -> None:
    weight, x = layer(8)
    x[:, 3] *= 60  # an outlier takes nearly all codes of the inputs
    seen = observers.add(observers.empty(x.shape[1], gram=True), x)

    share = corrections.best_share(seen, weight)

    def lost(alpha: float) -> float:
        scales = corrections.smooth(seen.largest, weight, alpha)
        held = affine.dequantize(affine.quantize(weight * scales, scheme.of(8)))
        codes = affine.quantize(x / scales, scheme.of(8, "tensor"))
        return float(np.square(affine.dequantize(codes) @ held.T - x @ weight.T).mean())

    assert 0 < share < 1
    assert lost(share) < 0.5 * lost(0.0)
    assert lost(share) < 1.2 * min(lost(alpha / 20) for alpha in range(21))


def test_a_share_is_not_searched_without_second_moments() -> None:
    weight, x = layer(8)
    seen = observers.add(observers.empty(x.shape[1]), x)

    with pytest.raises(ValueError, match="second moments"):
        corrections.best_share(seen, weight)


def test_equalised_channels_have_the_same_range() -> None:
    first = np.float32([[8, -2], [0.5, 0.25], [0, 0]])
    second = np.float32([[2, 4, 1], [-1, 1, 3]])

    scales = corrections.equalize(first, second)

    # sqrt(8 / 2) = 2, sqrt(0.5 / 4), and 1 for the channel that is always zero
    assert scales.tolist() == pytest.approx([2.0, 0.125**0.5, 1.0])
    out = np.abs(first / scales[:, np.newaxis]).max(axis=1)
    into = np.abs(second * scales).max(axis=0)
    assert out[:2].tolist() == pytest.approx(into[:2].tolist())


OPTIONS = st.lists(
    st.builds(Option, st.just("o"), st.integers(1, 9).map(float), st.integers(0, 9).map(float)),
    min_size=1,
    max_size=4,
)


@given(st.lists(OPTIONS, min_size=1, max_size=5), st.integers(0, 50))
def test_the_choice_of_bits_is_the_best_of_all(layers: list[list[Option]], budget: int) -> None:
    named = {str(at): options for at, options in enumerate(layers)}
    losses = [
        sum(one.loss for one in chosen)
        for chosen in product(*layers)
        if sum(one.cost for one in chosen) <= budget
    ]

    if not losses:
        least = sum(min(one.cost for one in options) for options in layers)
        with pytest.raises(ValueError, match=f"smallest that can be reached {least:g}"):
            adaptive.allocate(named, budget)
        return
    found = adaptive.allocate(named, budget)

    assert sum(one.cost for one in found.values()) <= budget
    assert sum(one.loss for one in found.values()) == min(losses)


def test_a_group_that_does_not_divide_is_halved_until_it_does() -> None:
    assert scheme.int4_per_group(128).fitted(96).group == 32
    assert scheme.int4_per_group(32).fitted(64).group == 32
    assert scheme.int4_per_group(32).fitted(37).group is None


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"2 to 8 bits, got {bits}"):
        scheme.of(bits, None)
