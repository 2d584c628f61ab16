"""Tensors larger than one buffer: cut by rows, computed with piece by piece, or refused clearly."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gpu_worker import pieces
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from services.gpu_worker.limits import LimitExceeded, Limits
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Tensors
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL, int4_per_group
from shared.sparse import compressed, convert
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, dense

BUFFER = 2**16  # [bytes]
RNG = np.random.default_rng(5)


@pytest.fixture
def narrow(device: Device, cache: Path) -> OpenCLBackend:
    """A device with buffers of 64 KiB and plenty of them."""
    return OpenCLBackend(device.limited(Limits(buffer_bytes=BUFFER)), cache)


def normal(*shape: int) -> Tensor:
    return dense(RNG.standard_normal(shape, np.float32))


def sparse(rows: int, cols: int, density: float) -> Tensor:
    values = RNG.standard_normal((rows, cols), np.float32)
    return compressed.to_tensor(compressed.compress(values * (RNG.random(values.shape) < density)))


def compare(
    backend: OpenCLBackend, name: str, inputs: Tensors, attributes: Attributes
) -> dict[str, int]:
    """Run a call, hold it against the reference; returns the pieces of each operand."""
    spec = catalog.spec(name)
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    outputs = backend.run(spec, residents, attributes)
    wanted = ReferenceBackend().run(spec, inputs, attributes)
    for port, made in outputs.items():
        np.testing.assert_allclose(
            backend.download(made).values,
            wanted[port].values,
            rtol=max(spec.tolerance.rtol, 1e-5),
            atol=max(spec.tolerance.atol, 1e-4),
        )
    counted = {port: len(held.pieces) for port, held in {**residents, **outputs}.items()}
    for resident in (*residents.values(), *outputs.values()):
        backend.release(resident)
    assert backend.residency.memory.used == 0
    return counted


UPLOADED = {
    "matrix": normal(1000, 33),
    "vector": normal(20_000),
    "codes": affine.quantize(normal(3000, 33).values, INT8_PER_CHANNEL),
    "sparse": sparse(900, 200, 0.3),
    "sparse_with_long_pointers": sparse(40_000, 3, 0.1),
    "bytes": dense(RNG.integers(0, 255, (300, 300), np.uint8)),
}


@pytest.mark.parametrize("name", sorted(UPLOADED))
def test_a_tensor_in_pieces_comes_back_whole(narrow: OpenCLBackend, name: str) -> None:
    tensor = UPLOADED[name]

    resident = narrow.upload(tensor)
    back = narrow.download(resident)

    assert len(resident.pieces) > 1
    assert back.type == resident.type == tensor.type
    for part, array in tensor.parts.items():
        np.testing.assert_array_equal(back.parts[part], array)
        assert back.parts[part].dtype == array.dtype


# x and the weight have room for 163 rows of 100 floats in one buffer, y for 65536 / (4 m) rows.
PRODUCTS = {
    "weight_in_pieces": (5, 100, 400),
    "x_in_pieces": (400, 100, 30),
    "y_in_pieces_only": (150, 10, 150),
    "everything_in_pieces": (500, 100, 700),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", sorted(PRODUCTS))
def test_dense_products_of_pieces(narrow: OpenCLBackend, name: str, bias: bool) -> None:
    n, k, m = PRODUCTS[name]
    inputs = {"x": normal(n, k), "weight": normal(m, k)} | ({"bias": normal(m)} if bias else {})

    counted = compare(narrow, "gemm_f32", inputs, {"activation": "relu"})

    assert max(counted.values()) > 1
    assert (counted["x"] > 0) == (n * k * 4 > BUFFER)
    assert (counted["weight"] > 0) == (m * k * 4 > BUFFER)
    assert (counted["y"] > 0) == (n * m * 4 > BUFFER)


@pytest.mark.parametrize("shape", [(3, 40, 2000), (1500, 40, 30), (1500, 40, 2000)])
def test_quantized_products_of_pieces(narrow: OpenCLBackend, shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    weight = affine.quantize(normal(m, k).values, INT8_PER_CHANNEL)

    counted = compare(narrow, "gemm_i8", {"x": normal(n, k), "weight": weight}, {})

    assert max(counted.values()) > 1


@pytest.mark.parametrize("x_bits", [8, 32])
@pytest.mark.parametrize("shape", [(3, 64, 4001), (600, 64, 30), (600, 64, 4001)])
def test_products_with_four_bit_weights_in_pieces(
    narrow: OpenCLBackend, shape: tuple[int, int, int], x_bits: int
) -> None:
    n, k, m = shape
    weight = affine.quantize(normal(m, k).values, int4_per_group(32))

    counted = compare(narrow, "gemm_i4", {"x": normal(n, k), "weight": weight}, {"x_bits": x_bits})

    assert max(counted.values()) > 1


@pytest.mark.parametrize("layout", sorted({Layout.SELL, Layout.CSC, Layout.BITMASK}))
def test_other_sparse_products_take_a_batch_in_pieces(
    narrow: OpenCLBackend, layout: Layout
) -> None:
    weight = convert.to_layout(sparse(90, 50, 0.1), layout)

    counted = compare(
        narrow, f"spmm_{layout}", {"weight": weight, "x": normal(700, 50)}, {"batch_first": True}
    )

    assert counted["x"] > 1


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("batch_first", [True, False])
def test_sparse_products_of_pieces(narrow: OpenCLBackend, n: int, batch_first: bool) -> None:
    weight = sparse(900, 200, 0.3)
    x = normal(n, 200) if batch_first else normal(200, n)
    inputs = {"weight": weight, "x": x, "bias": normal(900)}

    counted = compare(narrow, "spmm_csr", inputs, {"batch_first": batch_first})

    assert counted["weight"] == 4  # 54,000 elements of 4 bytes in each of two arrays


def test_rows_of_a_sparse_piece_are_cut_when_the_result_is_larger(narrow: OpenCLBackend) -> None:
    weight, x = sparse(900, 50, 0.1), normal(50, 64)  # y: 256 rows of 64 fit a buffer

    counted = compare(narrow, "spmm_csr", {"weight": weight, "x": x}, {})

    assert counted == {"weight": 0, "x": 0, "y": 4}


MAPS: dict[str, tuple[Tensors, Attributes]] = {
    "relu": ({"x": normal(1000, 33)}, {}),
    "sigmoid": ({"x": normal(20_000)}, {}),
    "clip": ({"x": normal(10, 5, 500)}, {"low": -0.5, "high": 0.5}),
    "softmax": ({"x": normal(1000, 33)}, {}),
    "add": ({"a": normal(1000, 33), "b": normal(1000, 33)}, {}),
    "mul": ({"a": normal(1000, 33), "b": normal(33)}, {}),
    "cast": ({"x": normal(1000, 33)}, {"to": "f64"}),
    "lif_step": ({"v": normal(1000, 33), "current": normal(1000, 33)}, {"decay": 0.5}),
}


@pytest.mark.parametrize("name", sorted(MAPS))
def test_functions_of_elements_of_pieces(narrow: OpenCLBackend, name: str) -> None:
    inputs, attributes = MAPS[name]

    counted = compare(narrow, name, inputs, attributes)

    assert max(counted.values()) > 1


def test_pieces_go_through_several_steps(narrow: OpenCLBackend) -> None:
    x, weight = normal(700, 100), normal(300, 100)
    residents = {"x": narrow.upload(x), "weight": narrow.upload(weight)}

    y = narrow.run(catalog.spec("gemm_f32"), residents, {})["y"]
    z = narrow.run(catalog.spec("add"), {"a": y, "b": y}, {})["y"]
    back = narrow.download(z).values

    assert len(y.pieces) > 1
    np.testing.assert_allclose(back, 2.0 * x.values @ weight.values.T, rtol=1e-4, atol=1e-4)


REFUSED: dict[str, tuple[Tensors, Attributes]] = {
    "transpose": ({"x": normal(1000, 33)}, {"perm": (1, 0)}),
    "reshape": ({"x": normal(1000, 33)}, {"shape": (33, 1000)}),
    "softmax": ({"x": normal(20_000)}, {}),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_cut_is_refused_and_leaves_nothing(narrow: OpenCLBackend, name: str) -> None:
    inputs, attributes = REFUSED[name]
    residents = {port: narrow.upload(tensor) for port, tensor in inputs.items()}
    held = narrow.residency.memory.used

    with pytest.raises(LimitExceeded, match=f"{name} takes no tensor larger than one buffer"):
        narrow.run(catalog.spec(name), residents, attributes)

    assert narrow.residency.memory.used == held


def test_a_sparse_product_whose_x_lies_in_pieces_is_refused(narrow: OpenCLBackend) -> None:
    residents = {
        "weight": narrow.upload(sparse(10, 3000, 0.01)),
        "x": narrow.upload(normal(3000, 8)),
    }
    held = narrow.residency.memory.used

    with pytest.raises(LimitExceeded, match=r"\(3000, 8\) lies in 2 buffers"):
        narrow.run(catalog.spec("spmm_csr"), residents, {})

    assert narrow.residency.memory.used == held


def test_a_weight_in_pieces_leaves_and_comes_back(device: Device, cache: Path) -> None:
    limits = Limits(buffer_bytes=BUFFER, memory_bytes=2**20)
    backend = OpenCLBackend(device.limited(limits), cache)
    weights = [normal(1200, 100) for _ in range(4)]  # 480 kB each: two fit
    x = backend.upload(normal(2, 100))
    there = [backend.upload(weight) for weight in weights]

    for weight, resident in zip(weights * 2, there * 2, strict=True):
        y = backend.run(catalog.spec("gemm_f32"), {"x": x, "weight": resident}, {})["y"]
        wanted = backend.download(x).values @ weight.values.T
        np.testing.assert_allclose(backend.download(y).values, wanted, rtol=1e-4, atol=1e-4)
        backend.release(y)

    assert backend.traffic.evictions >= 4


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=60),
    st.integers(1, 40),
)
def test_ragged_pieces_cover_every_row_once_within_the_limit(lengths: list[int], most: int) -> None:
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)

    cuts = pieces.ragged(indptr, 4, 4 * most)

    if max(lengths) > most or most < 2:  # a row's two pointers need 8 bytes
        assert cuts == []
        return
    assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
    assert cuts[-1][1] == len(lengths)
    for start, stop in cuts:
        assert indptr[stop] - indptr[start] <= most
        assert stop - start + 1 <= most


@given(st.integers(1, 1000), st.integers(1, 100), st.integers(1, 5000))
def test_even_pieces_cover_every_row_once_within_the_limit(
    rows: int, row_bytes: int, limit: int
) -> None:
    cuts = pieces.even(rows, row_bytes, limit)

    if row_bytes > limit:
        assert cuts == []
        return
    assert [row for start, stop in cuts for row in range(start, stop)] == list(range(rows))
    assert all((stop - start) * row_bytes <= limit for start, stop in cuts)


def test_bf16_in_pieces_keeps_its_type(narrow: OpenCLBackend) -> None:
    tensor = dense(RNG.integers(0, 2**15, (500, 100)).astype("<u2"), Dtype.BF16)

    assert narrow.download(narrow.upload(tensor)).dtype is Dtype.BF16
