"""Products of dense float32 matrices."""

from collections.abc import Iterator

import numpy as np

from shared.operators import dims, fused, plain_gradients, samples
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
from shared.tensors.layouts import Tensor, dense


def gemm_f32(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation(x weightᵀ + bias).

    Products and sums are float64, in whatever order numpy takes, and y is rounded once.
    """
    x = inputs["x"].values.astype(np.float64)
    weight = inputs["weight"].values.astype(np.float64)
    return {"y": dense(fused.finish(x @ weight.T, inputs, attributes))}


def gemm_f32_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 n m k flops for the product, n m each for bias and relu."""
    (n, k), (m, _) = dims.matrix(inputs, "x"), dims.matrix(inputs, "weight")
    flops = 2 * n * m * k + fused.flops(inputs, attributes, n * m)
    return Cost(float(flops), dims.traffic(inputs.values(), [dims.f32(n, m)]))


def gemm_f32_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Sizes around tile edges, empty dimensions, and values that are easy to lose."""
    for name, n, m, k in (
        ("one_row", 1, 10, 64),
        ("one_element", 1, 1, 1),
        ("odd_sizes", 3, 19, 37),
        ("whole_tiles", 64, 64, 64),
        ("beyond_tiles", 65, 130, 257),
        ("empty_batch", 0, 5, 7),
        ("no_columns", 3, 4, 0),
    ):
        inputs = {"x": samples.normal(rng, n, k), "weight": samples.weight(rng, m, k)}
        yield Case(name, inputs)
        biased = inputs | {"bias": samples.normal(rng, m)}
        yield Case(f"{name}_bias_relu", biased, {"activation": "relu"})
    x, weight = samples.normal(rng, 5, 33), samples.weight(rng, 9, 33)
    yield Case("all_zero", {"x": samples.zeros(5, 33), "weight": samples.zeros(9, 33)})
    yield Case("nan_in_one_row", {"x": samples.with_nan(x, 2, 7), "weight": weight})
    huge = samples.f32([[1e30, 1.0], [-1e30, 1.0]])
    yield Case("beyond_float32", {"x": huge, "weight": huge})
    relu = {"activation": "relu"}
    yield Case("nan_through_relu", {"x": samples.with_nan(x, 4, 0), "weight": weight}, relu)


GEMM_F32 = OperatorSpec(
    name="gemm_f32",
    inputs=(Port("x"), Port("weight"), fused.BIAS),
    outputs=(Port("y"),),
    infer=fused.types,
    reference=gemm_f32,
    cost=gemm_f32_cost,
    cases=gemm_f32_cases,
    attributes=(fused.ACTIVATION,),
    tolerance=Tolerance(rtol=1e-5, atol=1e-5),
    gradient=plain_gradients.gemm,
)
