"""The kernels as a card launches them, run on whatever device is here: wavefronts that share a sum,
tiles in local memory, loads that rely on alignment."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.launch.shape import merged
from shared.operators.catalog import spec
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Tensors
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.sparse import compressed
from shared.tensors.layouts import dense

ROWS = (1, 2, 3, 16, 17, 65)  # one, two, odd, the last and the first on either side of the tiles
COLS = (37, 64, 144)  # no load whole, all loads whole, more than one step of a wavefront


def assert_same(
    backend: OpenCLBackend, name: str, inputs: Tensors, attributes: Attributes | None = None
) -> None:
    """Run on the device and hold every output against the reference, with the spec's tolerance."""
    expected = ReferenceBackend().run(spec(name), inputs, attributes or {})
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    outputs = backend.run(spec(name), residents, attributes or {})
    made = {port: backend.download(output).values for port, output in outputs.items()}
    for resident in (*residents.values(), *outputs.values()):
        backend.release(resident)
    tolerance = spec(name).tolerance
    for port, tensor in expected.items():
        np.testing.assert_allclose(
            made[port], tensor.values, rtol=tolerance.rtol, atol=tolerance.atol
        )
    assert backend.residency.memory.used == 0


@pytest.mark.parametrize("k", COLS)
@pytest.mark.parametrize("n", ROWS)
def test_dense_products_agree(
    card: OpenCLBackend, rng: np.random.Generator, n: int, k: int
) -> None:
    x = dense(rng.standard_normal((n, k), dtype=np.float32))
    weight = dense(rng.standard_normal((131, k), dtype=np.float32) / np.float32(k**0.5))
    bias = dense(rng.standard_normal(131, dtype=np.float32))

    assert_same(card, "gemm_f32", {"x": x, "weight": weight, "bias": bias}, {"activation": "relu"})
    assert_same(card, "gemm_f32", {"x": x, "weight": weight})


@pytest.mark.parametrize("k", COLS)
@pytest.mark.parametrize("n", ROWS)
def test_products_with_codes_agree(
    card: OpenCLBackend, rng: np.random.Generator, n: int, k: int
) -> None:
    x = dense(rng.standard_normal((n, k), dtype=np.float32))
    full = rng.standard_normal((131, k), dtype=np.float32) / np.float32(k**0.5)
    weight = affine.quantize(full, INT8_PER_CHANNEL)
    bias = dense(rng.standard_normal(131, dtype=np.float32))

    assert_same(card, "gemm_i8", {"x": x, "weight": weight, "bias": bias}, {"activation": "relu"})
    assert_same(card, "gemm_i8", {"x": x, "weight": weight})


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])  # few elements per row, some, most
@pytest.mark.parametrize("n", ROWS)
def test_sparse_products_agree(
    card: OpenCLBackend, rng: np.random.Generator, n: int, share: float, batch_first: bool
) -> None:
    full = rng.standard_normal((67, 300), dtype=np.float32) / np.float32((300 * share) ** 0.5)
    full[rng.random(full.shape) >= share] = 0.0
    weight = compressed.to_tensor(compressed.compress(full))
    shape = (n, 300) if batch_first else (300, n)
    inputs = {"weight": weight, "x": dense(rng.standard_normal(shape, dtype=np.float32))}

    assert_same(card, "spmm_csr", inputs, {"batch_first": batch_first})


@pytest.mark.parametrize(
    "name",
    [
        "gemm_f32",
        "gemm_i8",
        "sddmm_csr",
        "softmax",
        "spmm_bitmask",
        "spmm_block",
        "spmm_csc",
        "spmm_csr",
        "spmm_nm",
        "spmm_sell",
    ],
)
def test_the_cases_of_the_catalogue_agree(card: OpenCLBackend, name: str) -> None:
    for case in spec(name).cases(np.random.default_rng(20)):  # empty, NaN, infinite, repeated ...
        assert_same(card, name, case.inputs, case.attributes)


@pytest.mark.parametrize(("n", "m", "k"), [(0, 3, 4), (20, 0, 4), (20, 3, 0), (1, 3, 0), (2, 0, 0)])
def test_products_without_rows_outputs_or_columns_agree(
    card: OpenCLBackend, backend: OpenCLBackend, n: int, m: int, k: int
) -> None:
    full = np.ones((m, k), np.float32)
    sparse = compressed.to_tensor(compressed.compress(full))
    x, bias = dense(np.ones((n, k), np.float32)), dense(np.ones(m, np.float32))

    for device in (card, backend):
        operands = {"x": x, "bias": bias}
        assert_same(device, "gemm_f32", operands | {"weight": dense(full)})
        codes = affine.quantize(full, INT8_PER_CHANNEL)
        assert_same(device, "gemm_i8", operands | {"weight": codes})
        assert_same(device, "spmm_csr", operands | {"weight": sparse}, {"batch_first": True})
        columns = dense(np.ones((k, n), np.float32))
        assert_same(device, "spmm_csr", {"x": columns, "bias": bias, "weight": sparse})


@pytest.mark.parametrize("cols", [1, 63, 64, 200])
def test_softmax_by_wavefronts_agrees(
    card: OpenCLBackend, rng: np.random.Generator, cols: int
) -> None:
    x = rng.standard_normal((5, cols), dtype=np.float32) * np.float32(3.0)

    assert_same(card, "softmax", {"x": dense(x)})


@pytest.mark.parametrize(
    ("shape", "perm", "sizes", "order"),
    [
        ((2, 3, 4, 5), (0, 1, 2, 3), (120,), (0,)),  # nothing moves
        ((2, 3, 4, 5), (2, 3, 0, 1), (6, 20), (1, 0)),  # a matrix of pairs
        ((2, 3, 4, 5), (0, 1, 3, 2), (6, 4, 5), (0, 2, 1)),  # a batch of matrices
        ((2, 1, 4, 5), (3, 1, 0, 2), (8, 5), (1, 0)),  # axes of size 1 do not count
        ((2, 3, 4), (2, 1, 0), (2, 3, 4), (2, 1, 0)),  # nothing joins
        ((1, 1), (1, 0), (), ()),
    ],
)
def test_axes_that_stay_neighbours_are_joined(
    shape: tuple[int, ...],
    perm: tuple[int, ...],
    sizes: tuple[int, ...],
    order: tuple[int, ...],
) -> None:
    assert merged(shape, perm) == (sizes, order)


@pytest.mark.parametrize("perm", [(2, 3, 0, 1), (0, 1, 3, 2), (3, 1, 0, 2), (0, 1, 2, 3)])
def test_transposes_agree(
    card: OpenCLBackend, rng: np.random.Generator, perm: tuple[int, ...]
) -> None:
    x = dense(rng.standard_normal((3, 2, 33, 5), dtype=np.float32))

    assert_same(card, "transpose", {"x": x}, {"perm": perm})
