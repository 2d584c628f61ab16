"""Products around a sparse matrix against their dense selves, gradients against differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.network.training import backward
from shared.operators import sparse_gradient
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Backward
from shared.sparse import compressed, convert, narrow, products
from shared.sparse.compressed import Axis, Compressed
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, dense
from tests.numerics import sparse_samples as samples

AXES = st.sampled_from(Axis)


def stored_along(matrix: F32, axis: Axis) -> Compressed:
    return compressed.compress(matrix, axis=axis)


def whole(rng: np.random.Generator, *shape: int) -> F32:
    """Small integers, whose products and sums are exact."""
    return rng.integers(-4, 5, shape).astype(np.float32)


@given(samples.MATRICES, AXES, st.integers(0, 4), st.integers(0, 99))
def test_transposed_product_is_the_dense_one(matrix: F32, axis: Axis, n: int, seed: int) -> None:
    x = whole(np.random.default_rng(seed), matrix.shape[0], n)

    y = products.transposed(stored_along(matrix, axis), x)

    np.testing.assert_array_equal(y, matrix.T.astype(np.float64) @ x)


@given(samples.MATRICES, AXES, st.integers(0, 4), st.integers(0, 99))
def test_sampled_product_is_the_dense_one_at_stored_places(
    matrix: F32, axis: Axis, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    left, right = whole(rng, matrix.shape[0], k), whole(rng, matrix.shape[1], k)
    held = stored_along(matrix, axis)

    found = products.sampled(held, left, right)

    rows, cols = products.places(held)
    np.testing.assert_array_equal(found, (left.astype(np.float64) @ right.T)[rows, cols])


def test_sampled_product_of_many_elements_is_cut_into_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = samples.csr(samples.random(40, 30, 0.5))
    left, right = samples.random(40, 8, 1.0, seed=1), samples.random(30, 8, 1.0, seed=2)
    at_once = products.sampled(held, left, right)

    monkeypatch.setattr(products, "CHUNK", 100)

    np.testing.assert_array_equal(products.sampled(held, left, right), at_once)


@given(samples.MATRICES, AXES, AXES, st.integers(0, 9), st.integers(0, 99))
def test_product_of_two_sparse_matrices_is_the_dense_one(
    matrix: F32, axis: Axis, other: Axis, cols: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    right = whole(rng, matrix.shape[1], cols) * (rng.random((matrix.shape[1], cols)) < 0.3)

    product = products.multiply(
        stored_along(matrix, axis), stored_along(right.astype(np.float32), other)
    )

    np.testing.assert_array_equal(compressed.expand(product), matrix @ right)
    assert compressed.canonical(product) is product


def test_sparse_product_reads_codes_and_short_indices() -> None:
    held = narrow.narrow(convert.to_layout(dense(samples.random(9, 8, 0.5)), Layout.CSR), Dtype.I8)
    codes = compressed.from_tensor(narrow.compact(held))
    eye = samples.csr(np.eye(8, dtype=np.float32))

    product = products.multiply(codes, eye)

    np.testing.assert_array_equal(compressed.expand(product), convert.to_dense(held))


def test_a_product_too_large_for_float32_is_infinite() -> None:
    large = samples.csr(np.array([[1e38]], np.float32))

    product = products.multiply(large, samples.csr(np.array([[1e38]], np.float32)))

    assert product.values.tolist() == [np.inf]


def loss(matrix: Compressed, x: F32, bias: F32, outer: F32) -> float:
    """A loss whose gradient with respect to y = W x + b is `outer`, in float64."""
    y = compressed.spmm(matrix, x) + bias[:, np.newaxis]
    return float((y * outer).sum())


def gradients(matrix: Compressed, x: F32, outer: F32) -> dict[str, Tensor]:
    """What the operators of both axes go backwards by, with a bias."""
    bias = np.zeros(matrix.shape[0], np.float32)
    inputs = {"weight": compressed.to_tensor(matrix), "x": dense(x), "bias": dense(bias)}
    attributes = {"batch_first": False, "activation": "none"}
    made = {"y": dense(np.empty_like(outer))}  # without activation nobody looks at it
    run = backward.on(ReferenceBackend())
    return sparse_gradient.spmm(
        Backward(inputs, made, attributes, {"y": dense(outer)}, frozenset(inputs), run)
    )


@pytest.mark.parametrize("axis", Axis)
def test_gradients_are_the_slopes_of_the_loss(axis: Axis) -> None:
    matrix, bias = stored_along(samples.random(6, 5, 0.4), axis), np.ones(6, np.float32)
    x, outer = samples.random(5, 3, 1.0, seed=1), samples.random(6, 3, 1.0, seed=2)
    step = np.float32(2**-4)  # the loss is linear in each, so the step need not be small

    found = gradients(matrix, x, outer)

    here = loss(matrix, x, bias, outer)
    for place in range(matrix.nonzeros):
        values = matrix.values.copy()
        values[place] += step
        slope = (loss(replace(matrix, values=values), x, bias, outer) - here) / step
        assert slope == pytest.approx(found["weight"].values[place], rel=1e-5, abs=1e-5)
    for place in np.ndindex(x.shape):
        moved = x.copy()
        moved[place] += step
        slope = (loss(matrix, moved, bias, outer) - here) / step
        assert slope == pytest.approx(found["x"].values[place], rel=1e-5, abs=1e-5)
    for place in range(bias.size):
        moved = bias.copy()
        moved[place] += step
        slope = (loss(matrix, x, moved, outer) - here) / step
        assert slope == pytest.approx(found["bias"].values[place], rel=1e-5, abs=1e-5)


def test_elements_of_one_place_have_one_gradient_each() -> None:
    odd = Compressed(
        Axis.ROWS,
        (1, 2),
        np.array([0, 2], np.int32),
        np.array([1, 1], np.int32),
        np.array([1, 2], np.float32),
    )

    found = gradients(odd, np.array([[3], [5]], np.float32), np.ones((1, 1), np.float32))

    assert found["weight"].values.tolist() == [5, 5]
    assert found["x"].values.tolist() == [[0], [3]]  # 1 + 2 at column 1


def test_gradients_have_the_shapes_of_what_they_belong_to() -> None:
    matrix = samples.csr(np.zeros((4, 0), np.float32))

    found = gradients(matrix, np.zeros((0, 3), np.float32), np.ones((4, 3), np.float32))

    assert (found["weight"].shape, found["x"].shape) == ((0,), (0, 3))
    assert found["bias"].values.tolist() == [3] * 4
    assert {slope.dtype for slope in found.values()} == {Dtype.F32}


def test_nan_opposite_to_nothing_does_not_show() -> None:
    matrix = samples.csr(np.array([[0, 2], [0, 0]], np.float32))
    x = np.array([[np.nan], [3]], np.float32)

    assert compressed.spmm(matrix, x).tolist() == [[6], [0]]
    assert products.transposed(matrix, x[::-1]).tolist() == [[0], [6]]
    assert products.sampled(matrix, x[::-1], x).tolist() == [9]


def test_shapes_that_do_not_fit_are_named() -> None:
    matrix, two = samples.csr(np.ones((3, 4), np.float32)), np.ones((2, 2), np.float32)

    with pytest.raises(ValueError, match=r"x must be \(3, n\), got shape \(2, 2\)"):
        products.transposed(matrix, two)
    with pytest.raises(ValueError, match=r"must be \(3, k\) and \(4, k\), got \(2, 2\)"):
        products.sampled(matrix, two, two)
    with pytest.raises(ValueError, match=r"cannot multiply \(3, 4\) by \(3, 4\)"):
        products.multiply(matrix, matrix)
