"""Products with weights of 2 to 8 bits without a sign, a scale and a zero per group, row or all."""

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
from shared.quantization import affine, scheme
from shared.quantization.scheme import Sharing
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense


def gemm_int(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation(x ((codes - zero) scale)ᵀ + bias).

    With `x_bits` 32, x stays float32. With 8, each row of x becomes bytes (see `int4.rounded`) and
    the product is multiplied by the row's scale. Products and sums are float64, y is rounded once.
    """
    x: F32 = inputs["x"].values.view(np.float32)
    weight = inputs["weight"]
    values = affine.steps(weight).astype(np.float64) * affine.sizes(weight)
    if attributes["x_bits"] == 8:
        octets, x_scale = int4.rounded(x)
        product = (octets.astype(np.float64) @ values.T) * x_scale[:, np.newaxis]
    else:
        product = x.astype(np.float64) @ values.T
    return {"y": dense(fused.finish(product, inputs, attributes))}


def gemm_int_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 n m k flops for the product, n m each for bias and relu; bits / 8 bytes for a code."""
    (n, k), (m, _) = dims.matrix(inputs, "x"), dims.matrix(inputs, "weight")
    flops = 2 * n * m * k + fused.flops(inputs, attributes, n * m)
    return Cost(float(flops), dims.traffic(inputs.values(), [dims.f32(n, m)]))


def gemm_int_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every number of bits, groups that do and do not fill 32 columns, one scale for all."""
    for bits in range(2, 9):
        yield from _both(f"bits_{bits}", rng, (3, 19, 64), bits, 32)
    shapes: tuple[tuple[str, tuple[int, int, int], int, Sharing], ...] = (
        ("one_row", (1, 10, 64), 4, 32),
        ("one_element", (1, 1, 1), 3, "row"),
        ("odd_sizes", (3, 19, 37), 5, "row"),
        ("whole_tiles", (64, 64, 64), 8, "row"),
        ("beyond_tiles", (65, 67, 256), 6, 128),
        ("small_groups", (2, 5, 48), 3, 16),
        ("uneven_groups", (4, 7, 192), 4, 96),
        ("whole_tensor", (5, 33, 70), 8, "tensor"),
        ("empty_batch", (0, 5, 7), 4, "row"),
        ("no_columns", (3, 4, 0), 4, "row"),
    )
    for name, sizes, bits, sharing in shapes:
        yield from _both(name, rng, sizes, bits, sharing)
    yield from _edges(rng)


def _both(
    name: str, rng: np.random.Generator, sizes: tuple[int, int, int], bits: int, sharing: Sharing
) -> Iterator[Case]:
    """Plain with a zero that is not the middle; symmetric with bias and relu; x as bytes."""
    n, m, k = sizes
    values: F32 = samples.weight(rng, m, k).values.astype(np.float32)
    shifted = values + np.float32(0.05)
    skewed = affine.quantize(shifted, scheme.of(bits, sharing, symmetric=False))
    inputs = {"x": samples.normal(rng, n, k), "weight": skewed}
    yield Case(name, inputs)
    yield Case(f"{name}_bytes", inputs, {"x_bits": 8})
    even = scheme.of(bits, sharing)
    if even.layout is Layout.INT_GROUP:
        biased = {
            "x": samples.normal(rng, n, k),
            "weight": affine.quantize(values, even),
            "bias": samples.normal(rng, m),
        }
        yield Case(f"{name}_bias_relu", biased, {"activation": "relu"})


def _edges(rng: np.random.Generator) -> Iterator[Case]:
    """Zeros, ends of the codes, and rows that are not finite."""
    chosen = scheme.of(3, 32, symmetric=False)
    plain = affine.quantize(samples.weight(rng, 9, 64).values.view(np.float32), chosen)
    nan = samples.with_nan(samples.normal(rng, 5, 64), 2, 7)
    infinite = samples.f32(np.array([[np.inf, *[1.0] * 63], [-1.0] * 64]))
    yield Case("all_zero", {"x": samples.zeros(2, 64), "weight": plain})
    yield Case("nan_in_one_row", {"x": nan, "weight": plain})
    yield Case("nan_in_one_row_bytes", {"x": nan, "weight": plain}, {"x_bits": 8})
    yield Case("infinity_in_one_row_bytes", {"x": infinite, "weight": plain}, {"x_bits": 8})
    for zero in (0, 255):  # every value to one side
        held = affine.Grid(np.full((4, 2), 2**-9, np.float32), np.full((4, 2), zero, np.uint8))
        ends = np.tile(np.array([0, 255, 1, 254], np.int16), (4, 16)) - np.int16(zero)
        weight = affine.with_steps(ends, held, scheme.of(8, 32, symmetric=False))
        yield Case(f"zero_at_{zero}", {"x": samples.normal(rng, 3, 64), "weight": weight})


GEMM_INT = OperatorSpec(
    name="gemm_int",
    inputs=(Port("x"), Port("weight", Layout.INT_GROUP), fused.BIAS),
    outputs=(Port("y"),),
    infer=fused.types,
    reference=gemm_int,
    cost=gemm_int_cost,
    cases=gemm_int_cases,
    attributes=(fused.ACTIVATION, int4.X_BITS),
    tolerance=Tolerance(rtol=1e-5, atol=1e-5),
)
