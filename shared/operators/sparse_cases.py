"""Cases of the sparse products: every layout, value type and index type at its edges."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from shared.operators import samples
from shared.operators.spec import Case, Scalar
from shared.sparse import compressed, convert, narrow
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor

SIZES = (  # name, rows, cols, columns of x, share of elements that are stored
    ("one_column", 33, 65, 1, 0.2),
    ("one_element", 1, 1, 1, 1.0),
    ("odd_sizes", 19, 37, 5, 0.3),
    ("whole_tiles", 64, 128, 64, 0.1),
    ("large", 130, 300, 17, 0.1),
    ("nothing_stored", 5, 7, 3, 0.0),
    ("everything_stored", 9, 11, 4, 1.0),
    ("empty_batch", 5, 7, 0, 0.5),
    ("no_rows", 0, 7, 2, 0.5),
    ("no_columns", 5, 0, 2, 0.5),
)
NARROW = ("one_column", "odd_sizes", "large", "nothing_stored")  # cases for f16 and i8
TURNED: dict[str, Scalar] = {"batch_first": True, "activation": "relu"}
PATTERN = (2, 4)  # of N:M cases
BLOCK = (16, 16)


def spmm(layout: Layout, rng: np.random.Generator) -> Iterator[Case]:
    """Cases of the product with weights of one layout."""
    for name, rows, cols, n, share in SIZES:
        held = weight(rng, layout, rows, cols, share)
        inputs = {"weight": held, "x": samples.normal(rng, cols, n)}
        yield Case(name, inputs)
        turned = {"x": samples.normal(rng, n, cols), "bias": samples.normal(rng, rows)}
        yield Case(f"{name}_batch_first_bias_relu", inputs | turned, TURNED)
        for dtype in (Dtype.F16, Dtype.I8) if name in NARROW else ():
            narrowed = {"weight": narrow.narrow(held, dtype)}
            yield Case(f"{name}_{dtype}", inputs | narrowed)
            yield Case(f"{name}_{dtype}_batch_first_bias_relu", inputs | turned | narrowed, TURNED)
    yield from _uneven(layout, rng)
    if layout is not Layout.NM:
        x = samples.with_nan(samples.normal(rng, 40, 3), 2, 0)
        yield Case("nan_opposite_to_nothing", {"weight": _column_two_empty(layout), "x": x})
    if layout in (Layout.CSR, Layout.CSC):
        yield from _repeated(layout, rng)


def sddmm(rng: np.random.Generator) -> Iterator[Case]:
    """Cases of the sampled product."""
    for name, rows, cols, k, share in SIZES:
        pattern = weight(rng, Layout.CSR, rows, cols, share)
        yield Case(name, _sampled(rng, pattern, k))
        if name in NARROW:
            yield Case(f"{name}_other_indices", _sampled(rng, reindexed(pattern), k))
    long = weight(rng, Layout.CSR, 5, 700, 0.0)
    yield Case("many_terms", _sampled(rng, weight(rng, Layout.CSR, 7, 9, 0.5), 700))
    yield Case("long_and_empty", _sampled(rng, long, 3))


def _sampled(rng: np.random.Generator, pattern: Tensor, k: int) -> dict[str, Tensor]:
    rows, cols = pattern.shape
    a = samples.normal(rng, rows, k, scale=1.0 / np.sqrt(max(k, 1)))
    return {"pattern": pattern, "a": a, "b": samples.normal(rng, cols, k)}


def weight(rng: np.random.Generator, layout: Layout, rows: int, cols: int, share: float) -> Tensor:
    """A random weight of about `share` stored elements, fit for its layout."""
    values: F32 = samples.weight(rng, rows, cols).values.astype(np.float32)
    values[~_kept(rng, layout, rows, cols, share)] = 0.0
    return laid_out(values, layout)


def laid_out(values: F32, layout: Layout) -> Tensor:
    """A (rows, cols) float32 array in a sparse layout; its zeros are not stored."""
    csr = compressed.to_tensor(compressed.compress(values))
    if layout is Layout.NM:
        return convert.to_layout(csr, layout, pattern=PATTERN)
    return convert.to_layout(csr, layout, block=BLOCK)


def reindexed(tensor: Tensor) -> Tensor:
    """The same tensor with indices of the other type, u16 or i32."""
    indices = tensor.parts["indices"]
    other = Dtype.I32 if indices.dtype == Dtype.U16.numpy else Dtype.U16
    return replace(tensor, parts={**tensor.parts, "indices": indices.astype(other.numpy)})


def _kept(
    rng: np.random.Generator, layout: Layout, rows: int, cols: int, share: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which elements are stored: single ones, whole blocks, or some of each group."""
    if layout is Layout.BLOCK:
        height, width = BLOCK
        blocks = rng.random((-(-rows // height), -(-cols // width))) < share
        return np.repeat(np.repeat(blocks, height, 0), width, 1)[:rows, :cols]
    kept = rng.random((rows, cols)) < share
    if layout is Layout.NM:
        n, m = PATTERN
        padded = np.zeros((rows, -(-cols // m) * m), dtype=np.bool_)
        padded[:, :cols] = kept
        grouped = padded.reshape(rows, padded.shape[1] // m, m)
        kept = (grouped & (np.cumsum(grouped, axis=2) <= n)).reshape(padded.shape)[:, :cols]
    return kept


def _uneven(layout: Layout, rng: np.random.Generator) -> Iterator[Case]:
    """Row lengths 700, 0, 1, 65, 0: longer than a work-group, empty, last row empty."""
    values = np.zeros((5, 700), dtype=np.float32)
    for row, length in ((0, 700), (2, 1), (3, 65)):
        columns = rng.permutation(700)[:length]
        values[row, columns] = rng.standard_normal(length, dtype=np.float32) / np.sqrt(length)
    if layout is Layout.NM:
        values[:, 2::4] = values[:, 3::4] = 0.0
    held = laid_out(values, layout)
    yield Case("uneven_rows", {"weight": held, "x": samples.normal(rng, 700, 3)})
    if "indices" in held.parts:
        other = {"weight": reindexed(held), "x": samples.normal(rng, 700, 1)}
        yield Case("uneven_rows_other_indices", other)


def _column_two_empty(layout: Layout) -> Tensor:
    """(20, 40): rows of a slice of different length, and nothing stored in the columns 0 to 15."""
    values = np.zeros((20, 40), dtype=np.float32)
    values[0, 16:40], values[3, 17], values[19, 39] = 0.25, 1.0, -2.0
    return laid_out(values, layout)


def _repeated(layout: Layout, rng: np.random.Generator) -> Iterator[Case]:
    """Line 0 has the places 3, 1, 3 in this order: unsorted, and the two at place 3 add up."""
    parts = {
        "indptr": np.array([0, 3, 3, 4], dtype=np.int32),
        "indices": np.array([3, 1, 3, 0], dtype=np.int32),
        "values": np.array([1.0, -2.0, 0.5, 4.0], dtype=np.float32),
    }
    shape = (3, 4) if layout is Layout.CSR else (4, 3)
    held = Tensor(layout, Dtype.F32, shape, parts)
    x = samples.normal(rng, shape[1], 3)
    yield Case("repeated_places", {"weight": held, "x": x})
    yield Case("nan_in_one_column", {"weight": held, "x": samples.with_nan(x, 1, 2)})
