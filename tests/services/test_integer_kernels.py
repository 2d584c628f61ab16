"""Products of quantized weights by compiled kernels and by BLAS, beside their definitions."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cpu_worker.engine import Engine
from services.cpu_worker.integer import plain_weight, recoding
from services.cpu_worker.integer.weight import Grouped, Quantized, Summing
from shared.operators import int4, static
from shared.operators.spec import Attributes
from shared.quantization import affine, scheme
from shared.quantization.scheme import INT8_PER_CHANNEL, Scheme, Sharing, int4_per_group
from shared.tensors.dtypes import F32, I8
from shared.tensors.layouts import Layout, Tensor

ROOT = Path(__file__).parents[2]
ROWS_OF_X = (*range(1, 10), 47, 48, 49, 70)
GROUPS = ((64, 64), (32, 96), (32, 256), (64, 448), (128, 384), (160, 160), (256, 512))
ODD_GROUPS = ((1, 9), (3, 33), (16, 80), (75, 75), (24, 72))


@pytest.fixture(params=[1, 2], ids=["one_thread", "two_threads"])
def shared(request: pytest.FixtureRequest, kernels: Engine) -> Engine:
    """Compiled products on this thread, or shared by two."""
    return Engine(request.param, None)


def octets(rng: np.random.Generator, rows: int, cols: int) -> Tensor:
    """An INT8 weight with every kind of code, -128 too, and row sums of about one."""
    tensor = affine.quantize(_values(rng, rows, cols), INT8_PER_CHANNEL)
    codes: I8 = rng.integers(-128, 128, (rows, cols), dtype=np.int8)
    return Tensor(tensor.layout, tensor.dtype, tensor.shape, {**tensor.parts, "codes": codes})


def nibbles(rng: np.random.Generator, rows: int, cols: int, group: int) -> Tensor:
    return affine.quantize(_values(rng, rows, cols), int4_per_group(group))


def _values(rng: np.random.Generator, rows: int, cols: int) -> F32:
    values: F32 = rng.standard_normal((rows, cols), dtype=np.float32)
    return values / np.float32(np.sqrt(max(cols, 1)))


def require_product(made: Quantized, weight: Tensor, x: F32) -> None:
    """Float32 rows, at the operator's tolerance."""
    wanted = x.astype(np.float64) @ exact(weight).T
    np.testing.assert_allclose(made.multiply(x), wanted, rtol=1e-5, atol=1e-5)


def require_octets(made: Quantized, weight: Tensor, x: I8) -> None:
    """Rows of bytes: exact for a scale per row, at the operator's tolerance for one per group."""
    if isinstance(made, Summing):
        sums = x.astype(np.int64) @ affine.steps(weight).astype(np.int64).T
        np.testing.assert_array_equal(made.sums(x), sums)
        return
    assert isinstance(made, Grouped)
    wanted = x.astype(np.float64) @ exact(weight).T
    np.testing.assert_allclose(made.multiply_octets(x), wanted, rtol=1e-5, atol=1e-3)


def exact(weight: Tensor) -> np.ndarray:
    return affine.steps(weight) * affine.sizes(weight).astype(np.float64)


@pytest.mark.parametrize("n", ROWS_OF_X)
def test_every_number_of_rows_of_x_is_right(
    n: int, shared: Engine, rng: np.random.Generator
) -> None:
    x: F32 = rng.standard_normal((n, 288), dtype=np.float32)
    x_octets: I8 = rng.integers(-128, 128, x.shape, dtype=np.int8)
    for weight in (octets(rng, 23, 288), nibbles(rng, 23, 288, 32), nibbles(rng, 23, 288, 96)):
        made = shared.quantized(weight)

        require_product(made, weight, x)
        require_octets(made, weight, x_octets)


@pytest.mark.parametrize("cols", [1, 3, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_edges_of_tiles_and_steps(
    rows: int, cols: int, kernels: Engine, rng: np.random.Generator
) -> None:
    weight = octets(rng, rows, cols)
    made = kernels.quantized(weight)
    for n in (1, 5):
        require_product(made, weight, rng.standard_normal((n, cols), dtype=np.float32))
        require_octets(made, weight, rng.integers(-128, 128, (n, cols), dtype=np.int8))


@pytest.mark.parametrize(("group", "cols"), [*GROUPS, *ODD_GROUPS])
def test_groups_of_every_size(
    group: int, cols: int, shared: Engine, rng: np.random.Generator
) -> None:
    weight = nibbles(rng, 21, cols, group)
    made = shared.quantized(weight)
    for n in (1, 4, 6, 50):
        require_product(made, weight, rng.standard_normal((n, cols), dtype=np.float32))
        require_octets(made, weight, rng.integers(-127, 128, (n, cols), dtype=np.int8))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("sharing", "cols"), [(32, 96), (128, 384), (15, 75), ("tensor", 64)])
def test_codes_of_any_bits_with_zeros_anywhere_are_right(
    bits: int, sharing: Sharing, cols: int, shared: Engine, rng: np.random.Generator
) -> None:
    values = _values(rng, 37, cols) + np.float32(0.5 / np.sqrt(cols))
    weight = affine.quantize(values, scheme.of(bits, sharing, symmetric=False))
    for made in (shared.quantized(weight), plain_weight.prepare(weight)):
        for n in (1, 4, 6, 50):
            require_product(made, weight, rng.standard_normal((n, cols), dtype=np.float32))
            require_octets(made, weight, rng.integers(-127, 128, (n, cols), dtype=np.int8))


@pytest.mark.parametrize("n", [1, 5])
def test_sums_of_extreme_bytes_are_exact_far_beyond_what_float32_holds(
    n: int, shared: Engine
) -> None:
    cols = 70_001
    weight = affine.quantize(np.ones((3, cols), dtype=np.float32), INT8_PER_CHANNEL)
    weight.parts["codes"][1:] = -128
    x = np.full((n, cols), -128, dtype=np.int8)

    for made in (shared.quantized(weight), plain_weight.prepare(weight)):
        assert isinstance(made, Summing)
        sums = made.sums(x)
        assert sums.tolist() == [[-128 * 127 * cols, 128 * 128 * cols, 128 * 128 * cols]] * n


@pytest.mark.parametrize("n", [1, 5, 50])
def test_nan_and_infinity_stay_in_their_row(
    n: int, shared: Engine, rng: np.random.Generator
) -> None:
    for weight in (octets(rng, 9, 96), nibbles(rng, 9, 96, 32), nibbles(rng, 9, 96, 24)):
        x: F32 = rng.standard_normal((n, 96), dtype=np.float32)
        x[n // 2, 5] = np.nan
        y = shared.quantized(weight).multiply(x)
        assert np.isnan(y[n // 2]).all()
        assert np.isfinite(np.delete(y, n // 2, axis=0)).all()

        x[n // 2, 5] = np.inf
        y = shared.quantized(weight).multiply(x)
        with np.errstate(invalid="ignore"):
            wanted = x.astype(np.float64) @ exact(weight).T
        np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
        np.testing.assert_array_equal(y == np.inf, wanted == np.inf)


def test_one_row_of_four_bits_by_hand(shared: Engine) -> None:
    values = np.zeros((1, 64), dtype=np.float32)
    values[0, [0, 1, 40]] = 7.0, -3.0, 14.0  # scales 1 and 2: codes 7, -3 and 7
    x = np.zeros((1, 64), dtype=np.float32)
    x[0, [0, 1, 40]] = 1.0, 10.0, 100.0

    made = shared.quantized(affine.quantize(values, int4_per_group(32)))

    assert made.multiply(x).tolist() == [[1377.0]]  # 7 - 30 + 14 * 100


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 12),
    cols=st.integers(1, 300),
    n=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_are_rounded_to_bytes_as_defined(
    kernels: Engine, rows: int, cols: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = np.ldexp(rng.standard_normal((n, cols)), rng.integers(-140, 100, (n, cols)))
    held: F32 = x.astype(np.float32)
    held[rng.random(held.shape) < 0.01] = rng.choice([np.nan, np.inf, -np.inf])

    found, scale = kernels.rounded(held)

    wanted, wanted_scale = int4.rounded(held)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(scale, wanted_scale)


def test_ties_are_rounded_to_even(kernels: Engine, rng: np.random.Generator) -> None:
    largest = rng.uniform(1, 2, 2**16).astype(np.float32)
    step = largest * (np.float32(1) / np.float32(127))
    short = np.flatnonzero((step.view(np.uint32) & 0xFF) == 0)  # (h + 1/2) step is a float32 then
    halves = np.arange(-126, 127, dtype=np.float32) + np.float32(0.5)
    x: F32 = np.concatenate(
        [largest[short, np.newaxis], step[short, np.newaxis] * halves], axis=1
    ).astype(np.float32)

    found, _ = kernels.rounded(x)

    assert short.size > 100
    np.testing.assert_array_equal(found, int4.rounded(x)[0])
    assert np.array_equal(found[0, 1:], np.rint(halves))


@pytest.mark.usefixtures("kernels")
def test_a_weight_keeps_its_codes_once(rng: np.random.Generator) -> None:
    weight = nibbles(rng, 8, 256, 32)

    from services.cpu_worker.integer import simd_weight  # numba may be absent

    made = simd_weight.prepare(weight)

    assert np.shares_memory(made.matrix[0], weight.parts["codes"])


def test_two_python_threads_may_multiply_at_once(shared: Engine, rng: np.random.Generator) -> None:
    made = [shared.quantized(nibbles(rng, 300, 256, 32)), shared.quantized(octets(rng, 300, 256))]
    x: F32 = rng.standard_normal((6, 256), dtype=np.float32)
    wanted = [weight.multiply(x) for weight in made]

    def repeated(which: int) -> list[F32]:
        return [made[which].multiply(x) for _ in range(100)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(repeated, (0, 1)))

    for right, answers in zip(wanted, found, strict=True):
        assert all(np.array_equal(answer, right) for answer in answers)


def test_kernels_are_right_on_a_processor_without_integer_dot_products(tmp_path: Path) -> None:
    """The compiler ends the process over an instruction that the target lacks, so this is apart."""
    program = (
        f"import numba; numba.config.CACHE_DIR = {str(tmp_path)!r}\n"
        "from services.cpu_worker.integer import known_answers; known_answers.verify(1)"
    )
    given = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(-128, 127))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sums_become_the_bytes_that_the_definition_says(
    kernels: Engine, seed: int, relu: bool, zero: int
) -> None:
    rng = np.random.default_rng(seed)
    sums = rng.integers(-(2**31), 2**31, (5, 37), dtype=np.int32) >> rng.integers(0, 31, (5, 37))
    scale: F32 = (2.0 ** rng.integers(-20, 1, 37)).astype(np.float32)  # so that many are ties
    activation = "relu" if relu else "none"
    given: Attributes = {"x_scale": 1.0, "y_scale": 2.0, "y_zero": zero, "to": "i8"}

    found = kernels.finished(sums, scale, {**given, "activation": activation})

    wanted = static.finished(sums, scale, {**given, "activation": activation})
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("scheme", "layout"),
    [
        (scheme.of(3, 32), Layout.INT4_GROUP),
        (scheme.of(6), Layout.INT8_CHANNEL),
        (scheme.of(8, "tensor"), Layout.INT8_CHANNEL),
        (scheme.of(8, 32), Layout.INT_GROUP),
        (scheme.of(3, 32, symmetric=False), Layout.INT4_GROUP),
        (scheme.of(4, 32, symmetric=False), Layout.INT_GROUP),
    ],
    ids=str,
)
def test_codes_move_to_the_fastest_layout_that_holds_them(
    scheme: Scheme, layout: Layout, rng: np.random.Generator
) -> None:
    weight = affine.quantize(_values(rng, 9, 64) + np.float32(0.1), scheme)

    moved = recoding.recoded(weight)

    assert moved.layout is layout
    np.testing.assert_array_equal(affine.dequantize(moved), affine.dequantize(weight))
