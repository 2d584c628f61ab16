"""Calls that every backend must answer like the references of `static`, bit by bit."""

from collections.abc import Iterator

import numpy as np

from shared.operators import samples
from shared.operators.spec import Attributes, Case
from shared.tensors.dtypes import F32, I8, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

LOW, HIGH = -128, 127


def quantize(rng: np.random.Generator) -> Iterator[Case]:
    """Ties, both ends, and what is no number."""
    ties = samples.f32(np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 127.5, -128.5]))
    wild = samples.f32(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]))
    for zero in (0, 5, -128, 127):
        given: Attributes = {"scale": 1.0, "zero": zero}
        yield Case(f"ties_zero_{zero}", {"x": ties}, given)
        yield Case(f"wild_zero_{zero}", {"x": wild}, given)
    yield Case("normal", {"x": samples.normal(rng, 7, 19)}, {"scale": 0.013, "zero": -3})
    yield Case("empty", {"x": samples.zeros(0, 5)}, {"scale": 1.0})


def dequantize(rng: np.random.Generator) -> Iterator[Case]:
    """Every code."""
    every: I8 = np.arange(LOW, HIGH + 1, dtype=np.int8)
    for zero in (0, 5, -128, 127):
        yield Case(f"every_code_zero_{zero}", {"x": dense(every)}, {"scale": 0.37, "zero": zero})
    yield Case("odd_sizes", {"x": _bytes(rng, 3, 7)}, {"scale": 0.01})
    yield Case("empty", {"x": _bytes(rng, 0, 5)}, {"scale": 1.0})


def gemm_q8(rng: np.random.Generator) -> Iterator[Case]:
    """Rows that do and do not fill 4, 16 and 64 bytes, both results, and every extreme code."""
    for name, n, m, k in (
        ("one_row", 1, 10, 64),
        ("one_element", 1, 1, 1),
        ("odd_sizes", 3, 19, 37),
        ("whole_tiles", 64, 64, 64),
        ("beyond_tiles", 33, 70, 258),
        ("long_rows", 2, 3, 2100),
        ("empty_batch", 0, 5, 7),
        ("no_columns", 3, 4, 0),
    ):
        inputs = {"x": _bytes(rng, n, k), "weight": _weight(rng, m, k)}
        bias = dense(rng.integers(-5000, 5000, m, dtype=np.int32))
        for to in ("f32", "i8"):
            plain = _scales(to, x_zero=0, y_zero=0)
            moved = _scales(to, x_zero=-128, y_zero=-100) | {"activation": "relu"}
            yield Case(f"{name}_{to}", inputs, plain)
            yield Case(f"{name}_{to}_bias_relu", inputs | {"bias": bias}, moved)
    yield from _extremes()


def _weight(rng: np.random.Generator, rows: int, cols: int) -> Tensor:
    """Every code, and scales that suit them."""
    codes: I8 = rng.integers(LOW, HIGH + 1, (rows, cols), dtype=np.int8)
    scale: F32 = rng.uniform(0.5, 1.5, (rows, 1)).astype(np.float32) / np.float32(40 * max(cols, 1))
    parts: dict[str, Array] = {"codes": codes, "scale": scale}
    return Tensor(Layout.INT8_CHANNEL, Dtype.F32, (rows, cols), parts)


def _extremes() -> Iterator[Case]:
    """The largest sums of both signs, and results beyond both ends."""
    codes = np.array([[-128, -128, -128], [127, 127, 127], [127, -128, 0], [0, 0, 1]], np.int8)
    scale = np.array([[0.5], [0.25], [1.0], [2.0]], np.float32)
    weight = Tensor(Layout.INT8_CHANNEL, Dtype.F32, (4, 3), {"codes": codes, "scale": scale})
    x = dense(np.array([[-128] * 3, [127] * 3, [-1, 0, 1]], np.int8))
    for to in ("f32", "i8"):
        for zero in (-128, 0, 127):
            given = _scales(to, x_zero=zero, y_zero=zero)
            yield Case(f"extreme_codes_{to}_zero_{zero}", {"x": x, "weight": weight}, given)


def _scales(to: str, *, x_zero: int, y_zero: int) -> dict[str, float | int | str]:
    return {"x_scale": 0.02, "x_zero": x_zero, "y_scale": 0.05, "y_zero": y_zero, "to": to}


def _bytes(rng: np.random.Generator, *shape: int) -> Tensor:
    return dense(rng.integers(LOW, HIGH + 1, shape, dtype=np.int8))
