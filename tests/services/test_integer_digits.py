"""Float32 rows as digits of eight bits: what suits, and how close the products are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cpu_worker.engine import Engine
from services.cpu_worker.integer import plain_weight
from services.cpu_worker.integer.plain_weight import Codes
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.dtypes import F32

pytestmark = pytest.mark.usefixtures("kernels")


def weight(rng: np.random.Generator, rows: int, cols: int) -> Codes:
    values: F32 = rng.standard_normal((rows, cols), dtype=np.float32)
    made = plain_weight.prepare(affine.quantize(values, INT8_PER_CHANNEL))
    assert isinstance(made, Codes)
    return made


def multiply(held: Codes, x: F32) -> F32 | None:
    from services.cpu_worker.integer import digits  # numba may be absent

    return digits.multiply(held, x)


def exact(held: Codes, x: F32) -> np.ndarray:
    return (x.astype(np.float64) @ held.codes.T.astype(np.float64)) * held.scale


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 5),
    cols=st.integers(1, 300),
    n=st.integers(1, 6),
    power=st.integers(-40, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_product_is_off_by_the_step_of_the_digits_at_most(
    rows: int, cols: int, n: int, power: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    held = weight(rng, rows, cols)
    x: F32 = np.ldexp(rng.standard_normal((n, cols)), power).astype(np.float32)

    found = multiply(held, x)

    largest = np.abs(x).max(axis=1, keepdims=True).astype(np.float64)
    rounding = largest * 2.0**-22 * np.abs(held.codes).sum(axis=1) * held.scale
    wanted = exact(held, x)
    if found is not None:
        slack = 2.0**-21 * (np.abs(x) @ np.abs(held.codes).T) * held.scale
        assert (np.abs(found - wanted) <= rounding + slack).all()


def test_integers_are_exact(rng: np.random.Generator) -> None:
    codes = rng.integers(-128, 128, (7, 50)).astype(np.float32)
    held = Codes(codes, np.ones(7, dtype=np.float32), codes.sum(axis=1, dtype=np.int32))
    x = rng.integers(-50, 50, (3, 50)).astype(np.float32)

    assert np.array_equal(multiply(held, x), x @ codes.T)


def test_the_largest_digits_are_right() -> None:
    codes: F32 = np.full((1, 4), -128, dtype=np.float32)
    held = Codes(codes, np.ones(1, dtype=np.float32), codes.sum(axis=1, dtype=np.int32))
    top = float(2**22 - 1)
    x = np.array([[top, -top, top, top]], dtype=np.float32)

    assert multiply(held, x).tolist() == [[-256.0 * top]]  # type: ignore[union-attr]


def test_rows_of_zeros_give_zeros_among_others(rng: np.random.Generator) -> None:
    held = weight(rng, 4, 70)
    x = np.zeros((3, 70), dtype=np.float32)
    x[1] = 1.0

    found = multiply(held, x)

    assert found is not None
    assert not found[[0, 2]].any()
    np.testing.assert_allclose(found[1], exact(held, x)[1], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 2000.0])
def test_rows_with_an_outlier_or_without_a_number_do_not_suit(
    bad: float, rng: np.random.Generator
) -> None:
    x: F32 = rng.standard_normal((3, 1000), dtype=np.float32)
    x[1, 5] = bad

    assert multiply(weight(rng, 4, 1000), x) is None


def test_a_row_of_tiny_numbers_does_not_suit(rng: np.random.Generator) -> None:
    assert multiply(weight(rng, 4, 9), np.full((1, 9), 1e-30, dtype=np.float32)) is None


def test_rows_that_do_not_suit_are_multiplied_all_the_same(
    kernels: Engine, rng: np.random.Generator
) -> None:
    values: F32 = rng.standard_normal((5, 1000), dtype=np.float32)
    values[:, 5] = 0
    tensor = affine.quantize(values, INT8_PER_CHANNEL)
    x: F32 = rng.standard_normal((2, 1000), dtype=np.float32)
    x[0, 5] = 1e9  # beside it, every other element is below the step

    found = kernels.quantized(tensor).multiply(x)

    wanted = x.astype(np.float64) @ affine.dequantize(tensor).T.astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
