"""Products with sparse weights beyond the catalogue's cases, as a card and a processor cut them:
blocks and patterns of any size, loads that reach past the last column, groups of one row."""

from pathlib import Path

import numpy as np
import pytest

from services.gpu_worker import tuning
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from shared.operators.catalog import spec
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Tensors
from shared.sparse import compressed, convert, narrow
from shared.tensors.dtypes import F32, Array, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense

ROWS, COLS = 37, 70
FEW, MANY, GROUPS = 3, 9, 131  # columns of x: gathered, as vectors, groups of their own on a card


@pytest.fixture(scope="module", params=["card", "processor"])
def cut(request: pytest.FixtureRequest, device: Device, cache: Path) -> OpenCLBackend:
    """The device at hand, with the tunables of either class."""
    tuned = {"card": tuning.CARD, "processor": tuning.PROCESSOR}[request.param]
    return OpenCLBackend(device, cache, tuned)


def sparse(
    rng: np.random.Generator,
    layout: Layout,
    *,
    block: tuple[int, int] = (16, 16),
    pattern: tuple[int, int] = (2, 4),
) -> Tensor:
    """A random weight in which a fifth is stored; of each group of an N:M pattern, n at most."""
    values = rng.standard_normal((ROWS, COLS), dtype=np.float32) / np.float32(COLS**0.5)
    values[rng.random(values.shape) >= 0.2] = 0.0
    if layout is Layout.NM:
        n, m = pattern
        for start in range(0, COLS, m):
            values[:, start + n : start + m] = 0.0
    csr = compressed.to_tensor(compressed.compress(values))
    pattern_of = pattern if layout is Layout.NM else None
    return convert.to_layout(csr, layout, block=block, pattern=pattern_of)


def assert_same(backend: OpenCLBackend, weight: Tensor, x: Tensor, attributes: Attributes) -> None:
    """Run on the device and hold y against the reference, with the spec's tolerance."""
    product = spec(f"spmm_{weight.layout}")
    bias = dense(np.linspace(-1.0, 1.0, weight.shape[0], dtype=np.float32))
    inputs: Tensors = {"weight": weight, "x": x, "bias": bias}
    expected = ReferenceBackend().run(product, inputs, attributes)["y"]
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    y = backend.run(product, residents, attributes)["y"]
    made = backend.download(y).values
    for resident in (*residents.values(), y):
        backend.release(resident)
    tolerance = product.tolerance
    wanted = expected.values
    np.testing.assert_allclose(f32(made), f32(wanted), rtol=tolerance.rtol, atol=tolerance.atol)


def f32(array: Array) -> F32:
    """The same array, known to be float32."""
    return array.view(np.float32)


def normal(rng: np.random.Generator, rows: int, cols: int) -> Tensor:
    return dense(rng.standard_normal((rows, cols), dtype=np.float32))


@pytest.mark.parametrize(
    ("block", "n"),
    [((3, 5), FEW), ((3, 5), GROUPS), ((4, 8), MANY), ((64, 64), FEW), ((64, 64), GROUPS)],
)
def test_blocks_of_any_size_agree(
    cut: OpenCLBackend, rng: np.random.Generator, block: tuple[int, int], n: int
) -> None:
    weight = sparse(rng, Layout.BLOCK, block=block)

    assert_same(cut, weight, normal(rng, COLS, n), {"activation": "relu"})


@pytest.mark.parametrize(
    ("pattern", "n"),
    [((3, 7), FEW), ((3, 7), GROUPS), ((5, 8), MANY), ((16, 16), FEW), ((1, 4), GROUPS)],
)
def test_patterns_of_any_size_agree(
    cut: OpenCLBackend, rng: np.random.Generator, pattern: tuple[int, int], n: int
) -> None:
    weight = sparse(rng, Layout.NM, pattern=pattern)

    assert_same(cut, weight, normal(rng, COLS, n), {"activation": "relu"})


@pytest.mark.parametrize("dtype", [Dtype.F32, Dtype.F16, Dtype.I8])
@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_values_of_every_width_agree_in_many_columns(
    cut: OpenCLBackend, rng: np.random.Generator, layout: Layout, dtype: Dtype
) -> None:
    weight = narrow.narrow(sparse(rng, layout), dtype)

    assert_same(cut, weight, normal(rng, GROUPS, COLS), {"batch_first": True})


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_a_product_is_the_same_to_the_last_bit_each_time(
    cut: OpenCLBackend, rng: np.random.Generator, layout: Layout
) -> None:
    weight = cut.upload(sparse(rng, layout))
    x = cut.upload(normal(rng, COLS, FEW))
    product = spec(f"spmm_{layout}")

    made = [cut.run(product, {"weight": weight, "x": x}, {})["y"] for _ in range(5)]
    answers = {cut.download(y).values.tobytes() for y in made}

    assert len(answers) == 1
    for resident in (weight, x, *made):
        cut.release(resident)


def test_half_values_below_the_normal_ones_keep_their_value(cut: OpenCLBackend) -> None:
    tiny = np.array([[2.0**-24, 0.0], [0.0, -3.0 * 2.0**-20]], np.float32)
    stored = narrow.narrow(compressed.to_tensor(compressed.compress(tiny)), Dtype.F16)
    weight, x = cut.upload(stored), cut.upload(dense(np.full((2, 1), 2.0**24, np.float32)))

    y = cut.download(cut.run(spec("spmm_csr"), {"weight": weight, "x": x}, {})["y"])

    np.testing.assert_array_equal(y.values, [[1.0], [-48.0]])
