"""Products by compiled kernels beside the definition of each layout, in float64."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cpu_worker.engine import Engine
from services.cpu_worker.sparse import scipy_product, shares, stored
from services.cpu_worker.sparse.product import Product
from shared.sparse import compressed, convert, narrow, triplets
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor

VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)
COLUMNS = (*range(1, 71), 130, 512)
LAYOUTS = (Layout.CSR, Layout.CSC, Layout.SELL, Layout.BITMASK, Layout.BLOCK)
BLOCKS = ((16, 16), (32, 16), (64, 64), (8, 8), (5, 3), (1, 1), (20, 33))


@pytest.fixture(params=[1, 2], ids=["one_thread", "two_threads"])
def shared(request: pytest.FixtureRequest, kernels: Engine) -> Engine:
    """Compiled products on this thread, or shared by two."""
    return Engine(request.param, None)


def sparse(rng: np.random.Generator, rows: int, cols: int, share: float = 0.2) -> Tensor:
    """A CSR matrix with a share of its elements stored, of about unit row sums."""
    values: F32 = rng.standard_normal((rows, cols), dtype=np.float32)
    values[rng.random(values.shape) >= share] = 0
    values /= np.float32(np.sqrt(max(cols * share, 1)))
    return compressed.to_tensor(compressed.compress(values))


def require_product(made: Product, weight: Tensor, x: F32) -> None:
    """Compare with the definition, at the operator's tolerance."""
    np.testing.assert_allclose(
        made.multiply(x), triplets.product(weight, x), rtol=1e-5, atol=2e-6, strict=False
    )


@pytest.mark.parametrize("dtype", VALUES)
def test_every_number_of_columns_is_right(
    dtype: Dtype, shared: Engine, rng: np.random.Generator
) -> None:
    weight = narrow.narrow(sparse(rng, 53, 131), dtype)
    made = shared.prepare(weight)
    x: F32 = rng.standard_normal((131, max(COLUMNS)), dtype=np.float32)
    wanted = triplets.product(weight, x)

    for n in COLUMNS:
        found = made.multiply(np.ascontiguousarray(x[:, :n]))
        np.testing.assert_allclose(found, wanted[:, :n], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(0, 9), (9, 0), (1, 1), (40, 70), (70, 40)])
def test_every_layout_and_value_type(
    layout: Layout, dtype: Dtype, shape: tuple[int, int], kernels: Engine, rng: np.random.Generator
) -> None:
    held = convert.to_layout(sparse(rng, *shape, share=0.4), layout)
    weight = narrow.narrow(held, dtype)

    for n in (0, 1, 7, 19):
        x: F32 = rng.standard_normal((shape[1], n), dtype=np.float32)
        require_product(kernels.prepare(weight), weight, x)


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_of_every_size_beyond_both_edges(
    block: tuple[int, int], dtype: Dtype, shared: Engine, rng: np.random.Generator
) -> None:
    held = convert.to_layout(sparse(rng, 101, 75, 0.1), Layout.BLOCK, block=block)
    weight = narrow.narrow(held, dtype)

    for n in (1, 6, 33):
        x: F32 = rng.standard_normal((75, n), dtype=np.float32)
        require_product(shared.prepare(weight), weight, x)


def test_two_of_four_becomes_rows_with_its_stored_zeros(
    kernels: Engine, rng: np.random.Generator
) -> None:
    values: F32 = rng.standard_normal((6, 8), dtype=np.float32)
    values[:, 0::4] = values[:, 3::4] = 0
    values[2, 1] = 0  # the group keeps a zero in its place
    csr = compressed.to_tensor(compressed.compress(values))
    weight = convert.to_layout(csr, Layout.NM, pattern=(2, 4))
    x: F32 = rng.standard_normal((8, 5), dtype=np.float32)

    require_product(kernels.prepare(weight), weight, x)


def test_more_columns_than_16_bits_can_number(shared: Engine, rng: np.random.Generator) -> None:
    cols = 2**16 + 50
    weight = convert.to_layout(sparse(rng, 3, cols, 0.01), Layout.CSR)

    for n in (1, 9):
        x: F32 = rng.standard_normal((cols, n), dtype=np.float32)
        require_product(shared.prepare(weight), weight, x)


def test_repeated_and_unsorted_places_add_up(shared: Engine) -> None:
    parts = {
        "indptr": np.array([0, 3, 3, 4], dtype=np.int32),
        "indices": np.array([3, 1, 3, 0], dtype=np.uint16),
        "values": np.array([1.0, -2.0, 0.5, 4.0], dtype=np.float32),
    }
    weight = Tensor(Layout.CSR, Dtype.F32, (3, 4), parts)
    x = np.array([[1.0], [10.0], [100.0], [1000.0]], dtype=np.float32)

    found = shared.prepare(weight).multiply(x)

    assert found.tolist() == [[1480.0], [0.0], [4.0]]  # 1000 - 20 + 500; nothing; 4


@pytest.mark.parametrize("n", [1, 3, 20, 40])
@pytest.mark.parametrize("layout", [Layout.CSR, Layout.CSC, Layout.BLOCK])
def test_what_is_stored_takes_part_and_nothing_else(n: int, layout: Layout, shared: Engine) -> None:
    values = np.zeros((20, 64), dtype=np.float32)
    values[:16, 5] = 1.0  # block row 0 stores columns 0 to 15, block row 1 stores nothing
    held = convert.to_layout(compressed.to_tensor(compressed.compress(values)), layout)
    x = np.ones((64, n), dtype=np.float32)
    x[[40, 6]] = np.nan

    found = shared.prepare(held).multiply(x)

    assert np.isnan(found[:16]).all() if layout is Layout.BLOCK else (found[:16] == 1).all()
    assert (found[16:] == 0).all()  # of no stored element


@pytest.mark.parametrize("n", [1, 5, 33])
def test_infinity_and_nan_pass_bias_and_relu(n: int, shared: Engine) -> None:
    weight = compressed.to_tensor(compressed.compress(np.eye(4, dtype=np.float32)))
    x = np.repeat(np.array([[np.nan], [-np.inf], [np.inf], [-3.0]], dtype=np.float32), n, axis=1)
    bias = np.array([1, 1, 1, 1], dtype=np.float32)

    found = shared.prepare(weight).multiply(x, bias=bias, relu=True)

    wanted = np.array([[np.nan], [0.0], [np.inf], [0.0]])
    np.testing.assert_array_equal(found, np.repeat(wanted, n, axis=1))


@pytest.mark.parametrize("n", [1, 6, 45])
def test_x_may_lie_in_any_memory_order_and_out_is_filled(
    n: int, shared: Engine, rng: np.random.Generator
) -> None:
    weight, bias = sparse(rng, 30, 44), rng.standard_normal(30, dtype=np.float32)
    x: F32 = rng.standard_normal((44, n), dtype=np.float32)
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((88, 2 * n), dtype=np.float32)
    wide[::2, ::2] = x
    made = shared.prepare(weight)
    wanted = np.maximum(triplets.product(weight, x) + bias[:, np.newaxis], 0)

    for given_x in (x, np.asfortranarray(x), frozen, wide[::2, ::2]):
        out = np.full((30, n), np.nan, dtype=np.float32)
        assert made.multiply(given_x, bias=bias, relu=True, out=out) is out
        np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=2e-6)


def test_misfits_are_refused_by_both(kernels: Engine, rng: np.random.Generator) -> None:
    weight = sparse(rng, 4, 6)
    x = np.zeros((6, 2), dtype=np.float32)

    for made in (kernels.prepare(weight), scipy_product.prepare(weight)):
        with pytest.raises(ValueError, match=r"x must be \(6, n\) float32, got \(5, 2\)"):
            made.multiply(x[:5])
        with pytest.raises(ValueError, match=r"got \(6, 2\) float64"):
            made.multiply(x.astype(np.float64))  # type: ignore[arg-type]  # that is the point
        with pytest.raises(ValueError, match=r"bias must be \(4,\)"):
            made.multiply(x, bias=np.zeros(1, dtype=np.float32))
        with pytest.raises(ValueError, match=r"out must be \(4, 2\)"):
            made.multiply(x, out=np.zeros((2, 4), dtype=np.float32).T)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=12),
    cols=st.integers(1, 200),
    n=st.integers(1, 40),
    dtype=st.sampled_from(VALUES),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_of_any_lengths(
    kernels: Engine, lengths: list[int], cols: int, n: int, dtype: Dtype, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    parts = {
        "indptr": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        "indices": rng.integers(0, cols, count).astype(np.int32),  # repeats, unsorted
        "values": (rng.standard_normal(count) / 10).astype(np.float32),
    }
    weight = narrow.narrow(Tensor(Layout.CSR, Dtype.F32, (len(lengths), cols), parts), dtype)

    require_product(
        kernels.prepare(weight), weight, rng.standard_normal((cols, n), dtype=np.float32)
    )


def test_shares_of_rows_are_even_in_work_not_in_number() -> None:
    lengths = np.array([1000] + [10] * 300)  # one dense row before many short ones
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)

    bounds = shares.of(indptr, 2)

    work = np.diff((indptr + shares.ROW * np.arange(indptr.size))[bounds])
    assert bounds.tolist()[0::2] == [0, 301]
    assert abs(work[0] - work[1]) <= 1000 + shares.ROW


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_cover_all_rows_once_whatever_they_hold(count: int) -> None:
    for lengths in ([], [0], [0, 0, 0], [7], [0, 90, 0], [1] * 9):
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)

        bounds = shares.of(indptr, count)

        assert bounds.size == count + 1
        assert (bounds[0], bounds[-1]) == (0, len(lengths))
        assert (np.diff(bounds) >= 0).all()


def test_large_blocks_are_cut_into_squares_without_loss(rng: np.random.Generator) -> None:
    held = convert.to_layout(sparse(rng, 100, 90, 0.05), Layout.BLOCK, block=(32, 48))

    cut = stored.blocks(narrow.narrow(held, Dtype.I8))

    assert cut.block == (16, 16)
    assert (cut.padded, cut.indptr.size) == (96, 7 + 1)  # 6 and 7 squares hold 90 and 100
    assert cut.indptr[-1] == cut.indices.size == cut.scale.size == cut.values.size / 256


def test_sampled_products_are_dot_products(shared: Engine, rng: np.random.Generator) -> None:
    pattern = sparse(rng, 23, 31)
    places = triplets.of(pattern)
    for k in (0, 1, 63, 64, 130):
        a: F32 = rng.standard_normal((23, k), dtype=np.float32)
        b: F32 = rng.standard_normal((31, k), dtype=np.float32)

        found = shared.sample(pattern, a, b)

        wanted = (a.astype(np.float64)[places.rows] * b[places.cols]).sum(axis=1)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)


def test_two_python_threads_may_multiply_at_once(shared: Engine, rng: np.random.Generator) -> None:
    weights = [sparse(rng, 300, 200) for _ in range(2)]
    made = [shared.prepare(weight) for weight in weights]
    x: F32 = rng.standard_normal((200, 40), dtype=np.float32)
    wanted = [product.multiply(x) for product in made]

    def repeated(which: int) -> list[F32]:
        return [made[which].multiply(x) for _ in range(200)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(repeated, (0, 1)))

    for right, answers in zip(wanted, found, strict=True):
        assert all(np.array_equal(answer, right) for answer in answers)
