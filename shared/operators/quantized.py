"""Products with weights of few bits."""

from collections.abc import Iterator

import numpy as np

from shared.operators import dims, fused, samples
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


def gemm_i8(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation((x codesᵀ) scale + bias).

    x stays float32 (weight-only quantization). Products and sums are float64, the scale is applied
    to the sum, and y is rounded once.
    """
    x = inputs["x"].values.astype(np.float64)
    weight = inputs["weight"]
    scale = weight.parts["scale"].astype(np.float64)
    product = (x @ affine.codes(weight).astype(np.float64).T) * scale.T
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
    yield Case("all_zero", {"x": samples.normal(rng, 5, 33), "weight": _zeros(9, 33)})
    yield Case("extreme_codes", {"x": samples.normal(rng, 4, 6, scale=0.5), "weight": _extremes()})
    x = samples.with_nan(samples.normal(rng, 5, 33), 2, 7)
    yield Case("nan_in_one_row", {"x": x, "weight": _weight(rng, 9, 33)})


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
    attributes=(fused.ACTIVATION,),
    tolerance=Tolerance(rtol=1e-5, atol=1e-5),
)
