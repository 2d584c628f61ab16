"""Masks hold their budgets exactly and prefer the larger, then the earlier weight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.pruning import masks
from shared.tensors.dtypes import F32

# Few distinct values, so that most draws have ties at the threshold.
WEIGHTS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=8),
    elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0]),
)


def test_the_largest_stay_and_of_equals_the_first() -> None:
    weight = np.array([[0.1, -3.0, 2.0], [2.0, -2.0, 0.0]], dtype=np.float32)

    mask = masks.magnitude(weight, 3)

    # 3 stays; of the three of size 2 the first two in row-major order
    assert mask.tolist() == [[False, True, True], [True, False, False]]


@given(WEIGHTS, st.floats(0, 1))
def test_the_budget_is_kept_exactly(weight: F32, sparsity: float) -> None:
    kept = masks.budget(weight.size, sparsity)

    mask = masks.magnitude(weight, kept)

    assert mask.shape == weight.shape
    assert mask.sum() == kept


@given(WEIGHTS, st.floats(0, 1))
def test_no_dropped_weight_is_larger_than_a_kept_one(weight: F32, sparsity: float) -> None:
    mask = masks.magnitude(weight, masks.budget(weight.size, sparsity))

    dropped, kept = np.abs(weight[~mask]), np.abs(weight[mask])
    assert dropped.max(initial=0.0) <= kept.min(initial=np.inf)


@given(WEIGHTS, st.floats(0, 1))
def test_the_mask_is_the_one_of_a_stable_sort(weight: F32, sparsity: float) -> None:
    kept = masks.budget(weight.size, sparsity)
    order = np.argsort(-np.abs(weight).ravel(), kind="stable")

    mask = masks.magnitude(weight, kept)

    assert np.flatnonzero(mask).tolist() == sorted(order[:kept].tolist())


@pytest.mark.parametrize(
    ("size", "sparsity", "kept"),
    [(100, 0.9, 10), (10, 0.0, 10), (10, 1.0, 0), (10, 0.25, 8), (0, 0.5, 0)],  # 2.5 zeros -> 2
)
def test_budget_counts_the_zeros_rounded_half_to_even(
    size: int, sparsity: float, kept: int
) -> None:
    assert masks.budget(size, sparsity) == kept


def test_a_shared_budget_goes_to_the_largest_wherever_they_are() -> None:
    weights = {
        "first": np.array([1.0, -5.0], np.float32),
        "second": np.array([[4.0], [1.0], [3.0]], np.float32),
    }

    mask = masks.magnitude_across(weights, 4)

    assert mask["first"].tolist() == [True, True]  # the tie of the two 1.0 goes to the first tensor
    assert mask["second"].tolist() == [[True], [False], [True]]


def test_a_shared_budget_of_no_tensors_is_empty() -> None:
    assert masks.magnitude_across({}, 0) == {}


def test_two_of_four_keeps_two_of_each_four_columns() -> None:
    weight = np.array([[1, -4, 3, 3, 0, 0, 0, 0]], dtype=np.float32)

    mask = masks.n_of_m(weight, n=2, m=4)

    assert mask.tolist() == [[False, True, True, False, True, True, False, False]]


@given(
    arrays.arrays(np.float32, (3, 8), elements=st.floats(-9, 9, width=32)),
    st.integers(0, 4),
)
def test_every_group_keeps_exactly_n(weight: F32, n: int) -> None:
    mask = masks.n_of_m(weight, n=n, m=4)

    assert (mask.reshape(-1, 4).sum(axis=1) == n).all()


def test_dropped_weights_become_positive_zero_and_the_argument_stays() -> None:
    weight = np.array([-1.0, 2.0], np.float32)

    pruned = masks.apply(weight, np.array([False, True]))

    assert pruned.tolist() == [0.0, 2.0]
    assert not np.signbit(pruned).any()
    assert weight.tolist() == [-1.0, 2.0]


def test_wishes_that_cannot_be_met_are_refused() -> None:
    weight = np.ones((2, 6), np.float32)

    with pytest.raises(ValueError, match="cannot keep 13 of 12 weights"):
        masks.magnitude(weight, 13)
    with pytest.raises(ValueError, match=r"sparsity is a share of 0..1, got 1.5"):
        masks.budget(10, 1.5)
    with pytest.raises(ValueError, match=r"groups of 4 columns do not divide .* \(2, 6\)"):
        masks.n_of_m(weight, n=2, m=4)
    with pytest.raises(ValueError, match=r"n must be 0..3, got 4"):
        masks.n_of_m(weight, n=4, m=3)
    with pytest.raises(ValueError, match="1 weights are NaN"):
        masks.magnitude(np.array([1.0, np.nan], np.float32), 1)
    with pytest.raises(ValueError, match="does not fit weight"):
        masks.apply(weight, np.ones(3, np.bool_))
