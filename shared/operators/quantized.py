"""Products with weights of few bits."""

from collections.abc import Iterator

import numpy as np

from shared.operators import dims, fused, int4, samples
from shared.operators.spec import (
    Attributes,
    Case,
    Cost,
    OperatorSpec,
    Port,
    Tensors,
    Tolerance,
    Types,
)
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense

BYTES: Attributes = {"x_bits": 8}


def gemm_i8(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation((x codesᵀ) scale + bias).

    With `x_bits` 32, x stays float32 (weight-only quantization); products and sums are float64.
    With 8, each row of x becomes bytes (see `int4.rounded`), whose products with the codes are
    summed exactly. The scales, of the weight's row and with 8 of x's row, are applied to the sum
    in float64, and y is rounded once.
    """
    weight = inputs["weight"]
    scale = weight.parts["scale"].astype(np.float64)
    codes = affine.codes(weight).astype(np.float64)
    if attributes["x_bits"] == 8:
        values, x_scale = int4.rounded(inputs["x"].values.view(np.float32))
        product = (values.astype(np.float64) @ codes.T) * scale.T * x_scale[:, np.newaxis]
    else:
        product = (inputs["x"].values.astype(np.float64) @ codes.T) * scale.T
    return {"y": dense(fused.finish(product, inputs, attributes))}


def gemm_i8_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 n m k flops for the product, n m each for scale, bias and relu; a code is one byte."""
    (n, k), (m, _) = dims.matrix(inputs, "x"), dims.matrix(inputs, "weight")
    flops = 2 * n * m * k + n * m + fused.flops(inputs, attributes, n * m)
    return Cost(float(flops), dims.traffic(inputs.values(), [dims.f32(n, m)]))


def gemm_i8_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Rows that do and do not fill 4, 16 and 64 bytes, and every extreme code."""
    for name, n, m, k in (
        ("one_row", 1, 10, 64),
        ("one_element", 1, 1, 1),
        ("odd_sizes", 3, 19, 37),
        ("whole_tiles", 64, 64, 64),
        ("beyond_tiles", 33, 70, 258),
        ("empty_batch", 0, 5, 7),
        ("no_columns", 3, 4, 0),
    ):
        inputs = {"x": samples.normal(rng, n, k), "weight": _weight(rng, m, k)}
        yield Case(name, inputs)
        biased = inputs | {"bias": samples.normal(rng, m)}
        yield Case(f"{name}_bias_relu", biased, {"activation": "relu"})
        yield Case(f"{name}_bytes", inputs, BYTES)
        yield Case(f"{name}_bytes_bias_relu", biased, {"activation": "relu", **BYTES})
    yield from _edges(rng)


def _edges(rng: np.random.Generator) -> Iterator[Case]:
    """Zeros, extreme codes, ties, and rows that are not finite."""
    yield Case("all_zero", {"x": samples.normal(rng, 5, 33), "weight": _zeros(9, 33)})
    yield Case("extreme_codes", {"x": samples.normal(rng, 4, 6, scale=0.5), "weight": _extremes()})
    x = samples.with_nan(samples.normal(rng, 5, 33), 2, 7)
    plain = _weight(rng, 9, 33)
    yield Case("nan_in_one_row", {"x": x, "weight": plain})
    yield Case("nan_in_one_row_bytes", {"x": x, "weight": plain}, BYTES)
    infinite = samples.f32(np.array([[np.inf, *[1.0] * 32], [-1.0] * 33]))
    yield Case("infinity_in_one_row_bytes", {"x": infinite, "weight": plain}, BYTES)
    yield Case("all_zero_bytes", {"x": samples.zeros(2, 33), "weight": plain}, BYTES)
    yield Case("ties_bytes", {"x": int4.ties(), "weight": _weight(rng, 9, 128)}, BYTES)


def _weight(rng: np.random.Generator, rows: int, cols: int) -> Tensor:
    values: F32 = samples.weight(rng, rows, cols).values.astype(np.float32)
    return affine.quantize(values, INT8_PER_CHANNEL)


def _zeros(rows: int, cols: int) -> Tensor:
    return affine.quantize(np.zeros((rows, cols), dtype=np.float32), INT8_PER_CHANNEL)


def _extremes() -> Tensor:
    """-128 is never made by our quantizer, yet it is a code that a file may hold."""
    codes = np.array([[-128, 127, -127, 0, 1, -1], [127] * 6, [-128] * 6], dtype=np.int8)
    scale = np.array([[1 / 128], [1 / 512], [1 / 1024]], dtype=np.float32)
    weight = _zeros(3, 6)
    return Tensor(weight.layout, weight.dtype, (3, 6), {"codes": codes, "scale": scale})


GEMM_I8 = OperatorSpec(
    name="gemm_i8",
    inputs=(Port("x"), Port("weight", Layout.INT8_CHANNEL), fused.BIAS),
    outputs=(Port("y"),),
    infer=fused.types,
    reference=gemm_i8,
    cost=gemm_i8_cost,
    cases=gemm_i8_cases,
    attributes=(fused.ACTIVATION, int4.X_BITS),
    tolerance=Tolerance(rtol=1e-5, atol=1e-5),
)
