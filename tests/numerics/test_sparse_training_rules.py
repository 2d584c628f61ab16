"""Shares, schedules, scores, drops and growth hold their budgets and their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.pruning import dsr, masks, rigl, schedules, scores, shares
from shared.pruning import set as random_growth

SHAPES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    min_size=1,
    max_size=5,
)
RULES: list[shares.Rule] = ["uniform", "er", "erk"]


@given(SHAPES, st.floats(0, 1), st.sampled_from(RULES))
def test_layers_together_keep_the_exact_number(
    shapes: dict[str, tuple[int, int]], sparsity: float, rule: shares.Rule
) -> None:
    kept = shares.budgets(shapes, sparsity, rule)

    assert sum(kept.values()) == masks.budget(sum(r * c for r, c in shapes.values()), sparsity)
    assert all(0 <= kept[name] <= r * c for name, (r, c) in shapes.items())


def test_er_gives_small_layers_a_larger_share() -> None:
    kept = shares.budgets({"wide": (1000, 1000), "narrow": (10, 1000)}, 0.9, "er")

    # shares are as 0.002 to 0.101: scale 1000 × 2020 / 2010 × 0.5 makes 101000 of 1010000
    assert kept["narrow"] / 10_000 == 1.0  # it would keep over all its weights, so it stays dense
    assert kept["wide"] == 101_000 - 10_000


def test_erk_counts_the_sizes_of_a_kernel() -> None:
    kept = shares.budgets({"a": (8, 8, 3, 3), "b": (32, 32, 1, 1)}, 0.5, "erk")

    # raw shares 22 / 576 and 66 / 1024, times the sizes 22 and 66: a quarter of 800 and the rest
    assert kept == {"a": 200, "b": 600}


@given(st.floats(0, 0.5), st.floats(0.5, 0.99), st.integers(0, 50), st.integers(1, 200))
def test_the_cubic_rises_from_the_first_to_the_last(
    first: float, last: float, begin: int, span: int
) -> None:
    cubic = schedules.Cubic(first, last, begin, begin + span, every=5)
    path = [cubic.at(step) for step in range(begin + span + 10)]

    assert path[begin] == pytest.approx(first)
    assert path[begin + span] == pytest.approx(last)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(path))
    assert cubic.due(begin)
    assert cubic.due(begin + span)
    assert not cubic.due(begin + span + 1)


def test_the_cubic_is_the_formula_of_the_paper() -> None:
    cubic = schedules.Cubic(0.3, 0.9, 0, 100, every=10)

    # 0.9 + (0.3 - 0.9) (1 - 50 / 100)³ = 0.9 - 0.6 / 8
    assert cubic.at(50) == pytest.approx(0.825)


def test_a_cubic_that_ends_where_it_begins_prunes_once() -> None:
    cubic = schedules.Cubic(0.3, 0.9, 7, 7, every=1)

    assert [step for step in range(20) if cubic.due(step)] == [7]
    assert cubic.at(6) == pytest.approx(0.3)
    assert cubic.at(7) == pytest.approx(0.9)


def test_less_moves_with_every_update_and_nothing_at_the_end() -> None:
    path = [schedules.moving(step, first=0.3, end=75) for step in range(0, 100, 5)]

    assert path[0] == pytest.approx(0.3)
    assert path == sorted(path, reverse=True)
    assert path[15:] == [0.0] * 5


@given(st.integers(1, 200), st.data())
def test_random_growth_takes_free_places_once(size: int, data: st.DataObject) -> None:
    taken = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1)))), dtype=np.int64)
    count = data.draw(st.integers(0, size - taken.size))

    places = random_growth.grown(size, taken, count, np.random.default_rng(3))

    assert places.size == count
    assert np.unique(places).size == count
    assert np.intersect1d(places, taken).size == 0
    assert all(0 <= place < size for place in places)
    assert (np.diff(places) > 0).all()


def test_every_free_place_is_as_likely() -> None:
    taken, rng = np.array([0, 3, 4], dtype=np.int64), np.random.default_rng(1)

    drawn = np.concatenate([random_growth.grown(7, taken, 1, rng) for _ in range(4000)])

    counts = np.bincount(drawn, minlength=7)
    assert counts[[0, 3, 4]].tolist() == [0, 0, 0]
    assert (np.abs(counts[[1, 2, 5, 6]] - 1000) < 150).all()  # five deviations of 27


@given(st.integers(1, 120), st.integers(1, 17), st.data())
def test_rigl_grows_where_the_gradient_is_largest_however_it_is_cut(
    size: int, block: int, data: st.DataObject
) -> None:
    slope = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    taken = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1)))), dtype=np.int64)
    count = data.draw(st.integers(0, size - taken.size))
    blocks = [(at, slope[at : at + block].copy()) for at in range(0, size, block)]

    places = rigl.grown(iter(blocks), taken, count)

    free = np.setdiff1d(np.arange(size), taken)
    wanted = free[np.argsort(-np.abs(slope[free]), kind="stable")[:count]]
    assert places.tolist() == sorted(wanted.tolist())


def test_the_smallest_weights_are_dropped() -> None:
    values = np.array([0.5, -0.1, 0.0, -2.0, 0.3], dtype=np.float32)

    assert rigl.surviving(values, 2).tolist() == [True, False, False, True, True]


def test_growth_beyond_the_free_places_is_refused() -> None:
    taken = np.arange(4, dtype=np.int64)

    with pytest.raises(ValueError, match="2 weights cannot grow at 1 free positions"):
        random_growth.grown(5, taken, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 weights cannot grow at 1 free positions"):
        rigl.grown([(0, np.ones(5, np.float32))], taken, 2)


def test_a_gradient_that_is_nan_is_named() -> None:
    with pytest.raises(ValueError, match="NaN at position 7"):
        rigl.grown([(5, np.array([1, 2, np.nan], np.float32))], np.empty(0, np.int64), 1)


def test_the_threshold_of_dsr_doubles_and_halves() -> None:
    assert dsr.adapted(0.1, dropped=80, aim=100) == pytest.approx(0.2)
    assert dsr.adapted(0.1, dropped=120, aim=100) == pytest.approx(0.05)
    assert dsr.adapted(0.1, dropped=105, aim=100) == pytest.approx(0.1)


@given(st.dictionaries(st.text("ab", min_size=1), st.integers(0, 50), min_size=1), st.data())
def test_dsr_gives_out_every_weight_and_no_layer_more_than_its_room(
    survivors: dict[str, int], data: st.DataObject
) -> None:
    sizes = {name: kept + data.draw(st.integers(0, 20)) for name, kept in survivors.items()}
    count = data.draw(st.integers(0, sum(sizes.values()) - sum(survivors.values())))

    given_out = dsr.reallocated(survivors, sizes, count)

    assert sum(given_out.values()) == count
    assert all(survivors[name] + more <= sizes[name] for name, more in given_out.items())


def test_dsr_grows_in_proportion_to_the_survivors() -> None:
    given_out = dsr.reallocated({"a": 30, "b": 10}, {"a": 100, "b": 100}, 8)

    assert given_out == {"a": 6, "b": 2}


def test_wanda_weighs_a_weight_by_what_it_multiplies() -> None:
    weight = np.array([[1.0, -2.0], [3.0, 0.5]], dtype=np.float32)
    norms = np.array([10.0, 1.0], dtype=np.float32)

    assert scores.wanda(weight, norms).tolist() == [[10.0, 2.0], [30.0, 0.5]]


def test_snip_shares_add_up_to_one() -> None:
    weight = np.array([[1.0, -2.0]], dtype=np.float32)
    slope = np.array([[-3.0, 0.5]], dtype=np.float32)

    assert scores.snip(weight, slope).tolist() == [[0.75, 0.25]]  # 3 and 1 of 4
    assert scores.snip(weight, np.zeros_like(slope)).tolist() == [[0.0, 0.0]]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 16), st.integers(1, 16), st.data())
def test_blocks_are_kept_whole(
    rows: int, cols: int, height: int, width: int, data: st.DataObject
) -> None:
    scored = np.random.default_rng(rows).random((rows, cols)).astype(np.float32)
    there = -(-rows // height) * -(-cols // width)
    kept = data.draw(st.integers(0, there))

    means = masks.of_blocks(scored, height=height, width=width)
    chosen = masks.magnitude(means, kept)
    mask = masks.whole_blocks(chosen, (rows, cols), height=height, width=width)

    found = [
        mask[r : r + height, c : c + width]
        for r in range(0, rows, height)
        for c in range(0, cols, width)
    ]
    assert sum(bool(block.all()) for block in found) == kept
    assert sum(bool(block.any()) for block in found) == kept


def test_rows_that_leave_together_are_scored_over_all_their_columns() -> None:
    wide = np.array([[3.0, 4.0], [0.0, 1.0]], dtype=np.float32)  # squares 25 and 1 of two columns
    narrow = np.array([[np.sqrt(2.0)], [np.sqrt(11.0)]], dtype=np.float32)  # 2 and 11 of one

    np.testing.assert_allclose(masks.of_rows([wide, narrow]), [3.0, 2.0], rtol=1e-6)


def test_a_row_of_many_columns_counts_no_more_than_one_of_few() -> None:
    few, many = np.full((1, 3), 2.0, np.float32), np.full((1, 300), 2.0, np.float32)

    assert masks.of_rows([few]).tolist() == masks.of_rows([many]).tolist() == [2.0]


@given(st.floats(0, 1), st.sampled_from(["uniform", "er", "erk"]), st.integers(1, 60))
def test_budgets_of_blocks_are_exact(sparsity: float, rule: shares.Rule, most: int) -> None:
    shapes = {"a": (64, 32), "b": (128, 64), "c": (16, 300)}
    units = {"a": 3, "b": most, "c": 7}

    found = shares.budgets(shapes, sparsity, rule, units)

    assert sum(found.values()) == masks.budget(10 + most, sparsity)
    assert all(0 <= found[name] <= units[name] for name in units)
