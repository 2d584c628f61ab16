"""What is observed does not depend on how it was cut, and ranges follow their definitions."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.quantization import observers, ranges
from shared.quantization.observers import BINS, Observed
from shared.quantization.ranges import Range
from shared.tensors.dtypes import F32

HALF = BINS // 2
SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=6)
RULES: list[Callable[[Observed], Range]] = [
    ranges.min_max,
    ranges.moving,
    ranges.percentile,
    lambda seen: ranges.mse(seen, 8),
    lambda seen: ranges.entropy(seen, 8),
]


def seen(x: F32, *, gram: bool = False) -> Observed:
    return observers.add(observers.empty(x.shape[1], gram=gram), x)


def drawn(rows: int, seed: int, scale: float = 1.0) -> F32:
    return (np.random.default_rng(seed).standard_normal((rows, 5)) * scale).astype(np.float32)


@given(SIZES, st.floats(1e-6, 1e6))
def test_batches_of_any_size_give_what_one_pass_gives(sizes: list[int], growth: float) -> None:
    batches = [drawn(n, at, growth**at % 1e6 + 1e-3) for at, n in enumerate(sizes)]

    found = observers.empty(5, gram=True)
    for batch in batches:
        found = observers.add(found, batch)

    whole = seen(np.concatenate(batches), gram=True)
    assert (found.rows, found.low, found.high) == (whole.rows, whole.low, whole.high)
    assert found.reach == whole.reach
    assert found.counts.tolist() == whole.counts.tolist()
    assert found.largest.tolist() == whole.largest.tolist()
    np.testing.assert_allclose(found.total, whole.total, rtol=1e-9, atol=1e-9 * growth)
    np.testing.assert_allclose(found.gram, whole.gram, rtol=1e-9, atol=1e-6)


def test_workers_may_be_merged_in_any_order() -> None:
    parts = [seen(drawn(7, at, 10.0**at)) for at in range(3)]
    first, second, third = parts

    one = observers.merge(observers.merge(first, second), third)
    other = observers.merge(third, observers.merge(second, first))

    assert one.counts.tolist() == other.counts.tolist()
    assert (one.rows, one.low, one.high) == (other.rows, other.low, other.high)


def test_every_value_is_counted_in_the_bin_that_holds_it() -> None:
    x = np.array([[-1.0, -0.5, 0.0, 0.25, 0.999, 1.0]], dtype=np.float32)

    found = seen(x)

    borders = observers.edges(found)
    assert found.reach == 2.0  # the power of two above 1
    expected, _ = np.histogram(x, borders)
    assert found.counts.tolist() == expected.tolist()


def test_the_moving_range_forgets() -> None:
    found = observers.empty(1)
    for high in (10.0, 1.0, 1.0):
        found = observers.add(found, np.array([[0.0], [high]], dtype=np.float32))

    # 10, then 0.9 × 10 + 0.1 × 1 = 9.1, then 0.9 × 9.1 + 0.1 = 8.29
    assert ranges.moving(found).high == pytest.approx(8.29)


def test_values_that_are_not_finite_are_named() -> None:
    x = drawn(3, 0)
    x[1, 2] = np.nan

    with pytest.raises(ValueError, match=r"\[1, 2\] is nan"):
        seen(x)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of 5 columns"):
        observers.add(observers.empty(5), np.zeros((2, 4), np.float32))


def test_second_moments_are_bounded() -> None:
    with pytest.raises(ValueError, match="over the limit of 8192"):
        observers.empty(8193, gram=True)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_seen_has_no_range(rule: Callable[[Observed], Range]) -> None:
    with pytest.raises(ValueError, match="at least one observed row"):
        rule(observers.empty(3))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_gets_what_was_seen(rule: Callable[[Observed], Range], value: float) -> None:
    found = rule(seen(np.full((4, 2), value, np.float32)))

    assert found.low == pytest.approx(min(value, 0.0))
    assert found.high == pytest.approx(max(value, 0.0))


@pytest.mark.parametrize("rule", RULES)
def test_a_single_row_is_enough(rule: Callable[[Observed], Range]) -> None:
    """Nothing is cut: a tail is under one value, and no finer step saves what a cut of -2 costs."""
    found = rule(seen(np.array([[1.0, -2.0, 0.5]], np.float32)))

    assert found == Range(-2.0, 1.0)


def test_a_percentile_leaves_out_the_tails() -> None:
    x = np.linspace(-1.0, 1.0, 20_001, dtype=np.float32)[:, np.newaxis]

    found = ranges.percentile(seen(x), 0.9)

    assert found.low == pytest.approx(-0.9, abs=2 / BINS)
    assert found.high == pytest.approx(0.9, abs=2 / BINS)


def test_the_divergence_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(5)
    found = seen(rng.standard_normal((2000, 3)).astype(np.float32))
    borders = observers.edges(found)

    for end, levels in ((700, 16), (HALF, 255), (130, 7)):
        mine = ranges._divergence(found.counts, borders, HALF - end, HALF + end, levels)

        assert mine == pytest.approx(_plain_divergence(found.counts, HALF, end, levels), rel=1e-9)


@pytest.mark.parametrize(
    "rule", [lambda seen: ranges.percentile(seen, 0.999), RULES[4]], ids=["percentile", "entropy"]
)
def test_the_bulk_of_a_heavy_tail_is_served_better_than_by_its_extremes(
    rule: Callable[[Observed], Range],
) -> None:
    x = np.random.default_rng(8).standard_t(2, (20_000, 1)).astype(np.float32)
    found = seen(x)

    clipped, whole = rule(found), ranges.min_max(found)

    bulk = x[np.abs(x) < 5]
    assert _error(bulk, clipped) < 0.5 * _error(bulk, whole)


def test_the_range_of_least_error_has_less_error_than_any_other_tried() -> None:
    x = np.random.default_rng(8).standard_t(3, (20_000, 1)).astype(np.float32)
    found = seen(x)

    best = ranges.mse(found, 4)

    for high in np.linspace(1.0, found.reach, 40):
        assert _error(x, best, 4) <= 1.02 * _error(x, Range(-high, high), 4)


@given(st.floats(-1e3, 0), st.floats(0, 1e3), st.integers(2, 8), st.booleans())
def test_zero_has_a_code_and_the_range_is_covered(
    low: float, high: float, bits: int, symmetric: bool
) -> None:
    found = ranges.affine(Range(low, high), bits, symmetric=symmetric)

    assert found.bottom <= found.zero <= found.top
    covered = [(code - found.zero) * found.scale for code in (found.bottom, found.top)]
    assert covered[0] <= low + found.scale
    assert covered[1] >= high - found.scale


def test_bits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="2 to 8 bits, got 9"):
        ranges.affine(Range(-1, 1), 9, symmetric=True)
    with pytest.raises(ValueError, match="2 to 8 bits, got 1"):
        ranges.mse(seen(drawn(4, 0)), 1)


def _plain_divergence(counts: np.ndarray, middle: int, end: int, levels: int) -> float:
    """Migacz 2017, word by word, with loops."""
    inside = [float(count) for count in counts[middle - end : middle + end]]
    p = list(inside)
    p[0] += float(counts[: middle - end].sum())
    p[-1] += float(counts[middle + end :].sum())
    q = [0.0] * len(inside)
    for level in range(levels):
        members = [at for at in range(len(inside)) if at * levels // len(inside) == level]
        filled = [at for at in members if p[at] > 0]
        for at in filled:
            q[at] = sum(inside[m] for m in members) / len(filled)
    p, q = [value / sum(p) for value in p], [value / sum(q) for value in q]
    return sum(a * np.log(a / b) if b else np.inf for a, b in zip(p, q, strict=True) if a)


def _error(x: F32, found: Range, bits: int = 8) -> float:
    step = (found.high - found.low) / (2**bits - 2)
    rounded = np.rint(np.clip(x, found.low, found.high) / step) * step
    return float(np.square(x - rounded).mean())
