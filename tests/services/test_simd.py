"""Vectors in numba, each operation beside numpy."""

import ctypes
import mmap
from typing import Any

import numba
import numpy as np
import pytest

from services.cpu_worker.simd import arithmetic
from services.cpu_worker.simd.arithmetic import add, fma, mul, rectified, splat, total, zero
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import (
    coded,
    gather,
    gather_some,
    index,
    load,
    load_some,
    number,
    store,
    store_some,
)
from shared.tensors.dtypes import F32

kernel = numba.njit(error_model="numpy")  # as `compiled.kernel`, but nothing is kept
EIGHT, SIXTEEN, SIXTY_FOUR = Lanes(8), Lanes(16), Lanes(64)
WIDTHS = (8, 16, 32, 64)


@kernel
def computed(lanes: Any, a: F32, b: F32, made: F32) -> None:
    """Rows of `made`: a + b, a b, a b + a, a without what is below zero, 2.5, 0."""
    n = arithmetic.width(lanes)
    left, right = load(lanes, a, 0), load(lanes, b, 0)
    store(made, 0, add(left, right))
    store(made, n, mul(left, right))
    store(made, 2 * n, fma(left, right, left))
    store(made, 3 * n, rectified(left))
    store(made, 4 * n, splat(lanes, np.float32(2.5)))
    store(made, 5 * n, zero(lanes))


@kernel
def summed(lanes: Any, a: F32) -> float:
    return total(load(lanes, a, 0))


@kernel
def in_groups(a: F32, made: F32) -> None:
    store(made, 0, arithmetic.group_totals(EIGHT, load(SIXTY_FOUR, a, 0)))


@kernel
def again(a: F32, made: F32) -> None:
    store(made, 0, arithmetic.repeated(SIXTEEN, load(EIGHT, a, 0)))


@kernel
def widened(values: Any, at: int, count: int, made: F32) -> None:
    store(made, 0, load(SIXTEEN, values, at))
    store(made, 16, load_some(SIXTEEN, values, at, count))
    made[32] = number(values, at)


@kernel
def gathered(x: F32, indices: Any, at: int, count: int, made: F32) -> None:
    store(made, 0, gather(EIGHT, x, indices, at))
    store(made, 8, gather_some(EIGHT, x, indices, at, count))


@kernel
def stored(made: F32, at: int, count: int) -> None:
    store_some(made, at, splat(EIGHT, np.float32(7.0)), count)


@kernel
def place(indices: Any, at: int) -> int:
    return index(indices, at)


@kernel
def are_codes(values: Any) -> bool:
    return coded(values)


@pytest.mark.parametrize("width", WIDTHS)
def test_arithmetic_is_numpy_s_lane_by_lane(width: int, rng: np.random.Generator) -> None:
    a = rng.integers(-8, 8, width).astype(np.float32)  # small integers: every step is exact
    b = rng.integers(-8, 8, width).astype(np.float32)
    made = np.empty(6 * width, dtype=np.float32)

    computed(Lanes(width), a, b, made)

    wanted = [a + b, a * b, a * b + a, np.maximum(a, 0), np.full(width, 2.5), np.zeros(width)]
    np.testing.assert_array_equal(made.reshape(6, width), wanted)


@pytest.mark.parametrize("width", WIDTHS)
def test_total_adds_all_lanes(width: int, rng: np.random.Generator) -> None:
    a = rng.integers(-100, 100, width).astype(np.float32)

    assert summed(Lanes(width), a) == a.sum()


def test_rectified_keeps_nan_and_infinity() -> None:
    a = np.array([np.nan, -np.inf, np.inf, -1.0, 0.0, 1.0, -np.nan, 2.0], dtype=np.float32)
    made = np.empty(48, dtype=np.float32)

    computed(EIGHT, a, a, made)

    wanted = [np.nan, 0.0, np.inf, 0.0, 0.0, 1.0, np.nan, 2.0]
    np.testing.assert_array_equal(made[24:32], np.float32(wanted))


def test_group_totals_add_neighbours(rng: np.random.Generator) -> None:
    a = rng.integers(-100, 100, 64).astype(np.float32)
    made = np.empty(8, dtype=np.float32)

    in_groups(a, made)

    np.testing.assert_array_equal(made, a.reshape(8, 8).sum(axis=1))


def test_a_vector_is_repeated_below_itself() -> None:
    a = np.arange(8, dtype=np.float32)
    made = np.empty(16, dtype=np.float32)

    again(a, made)

    np.testing.assert_array_equal(made, np.concatenate([a, a]))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_stored_values_are_float32_once_loaded(dtype: type, rng: np.random.Generator) -> None:
    values = (rng.standard_normal(20) * 50).astype(dtype)
    bits = values.view(np.uint16) if dtype is np.float16 else values
    made = np.empty(33, dtype=np.float32)

    widened(bits, 3, 5, made)

    wanted = values[3:19].astype(np.float32)
    np.testing.assert_array_equal(made[:16], wanted)
    np.testing.assert_array_equal(made[16:32], np.where(np.arange(16) < 5, wanted, 0))
    assert made[32] == wanted[0]


def test_every_float16_widens_as_numpy_widens_it() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    made = np.empty(33, dtype=np.float32)
    found = np.empty(2**16, dtype=np.float32)

    for at in range(0, 2**16, 16):
        widened(bits, at, 16, made)
        found[at : at + 16] = made[:16]

    with np.errstate(invalid="ignore"):  # signalling NaN
        np.testing.assert_array_equal(found, bits.view(np.float16).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_gather_takes_the_numbered_elements(dtype: type, rng: np.random.Generator) -> None:
    x = rng.standard_normal(2**16, dtype=np.float32)
    indices = rng.integers(0, 2**16, 12).astype(dtype)
    indices[2:4] = 2**16 - 1, 0  # as int16 the first would be -1
    made = np.empty(16, dtype=np.float32)

    gathered(x, indices, 2, 3, made)

    wanted = x[indices[2:10].astype(int)]
    np.testing.assert_array_equal(made[:8], wanted)
    np.testing.assert_array_equal(made[8:], np.where(np.arange(8) < 3, wanted, 0))
    assert place(indices, 2) == 2**16 - 1


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_a_masked_store_leaves_the_rest_alone(count: int) -> None:
    made = np.zeros(12, dtype=np.float32)

    stored(made, 2, count)

    wanted = np.zeros(12)
    wanted[2 : 2 + count] = 7.0
    np.testing.assert_array_equal(made, wanted)


def test_codes_are_told_from_numbers_by_their_type() -> None:
    assert are_codes(np.zeros(1, dtype=np.int8))
    assert not are_codes(np.zeros(1, dtype=np.float32))


def test_masked_loads_do_not_touch_the_page_behind_an_array() -> None:
    page = memory_ending_at_a_forbidden_page(np.arange(1024, dtype=np.float32))
    tail = page[-3:]
    indices = np.array([2, 1, 0], dtype=np.int32)
    made = np.empty(33, dtype=np.float32)

    gathered_some_only(tail, indices, made)

    np.testing.assert_array_equal(made[:3], tail)
    np.testing.assert_array_equal(made[16:19], tail[::-1])


@kernel
def gathered_some_only(tail: F32, indices: Any, made: F32) -> None:
    store(made, 0, load_some(SIXTEEN, tail, 0, 3))
    store(made, 16, gather_some(SIXTEEN, tail, indices, 0, 3))


def memory_ending_at_a_forbidden_page(content: F32) -> F32:
    """A copy of one page of float32; the page that follows it in memory may not be read."""
    size = mmap.PAGESIZE
    held = mmap.mmap(-1, 2 * size)
    array = np.frombuffer(held, dtype=np.float32)
    array[: content.size] = content
    libc = ctypes.CDLL(None, use_errno=True)
    behind = ctypes.c_void_p(array.ctypes.data + size)
    assert libc.mprotect(behind, ctypes.c_size_t(size), 0) == 0
    return array[: size // 4]
