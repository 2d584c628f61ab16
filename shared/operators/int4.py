"""Products with weights of 4 bits, a scale per group of columns; activations float or of 8 bits."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from shared.operators import dims, fused, samples
from shared.operators.spec import (
    Attribute,
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
from shared.quantization.scheme import int4_per_group
from shared.tensors import packing
from shared.tensors.dtypes import F32, I8, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

TOP = 127  # the largest byte; the smallest is its negative
_SMALLEST_SCALE = np.finfo(np.float32).smallest_normal
F64 = npt.NDArray[np.float64]
X_BITS = Attribute("x_bits", int, 32, "bits of an activation: 32 float, 8 integer", choices=(32, 8))


def gemm_i4(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation(x (codes scale)ᵀ + bias).

    With `x_bits` 32, x stays float32; products and sums are float64. With 8, each row of x becomes
    bytes (see `rounded`), the products of a group are summed exactly as integers; then, in float64,
    a sum is multiplied by the group's scale, the groups are added from the first to the last, and
    that is multiplied by the row's scale. y is rounded once.
    """
    x: F32 = inputs["x"].values.view(np.float32)
    weight = inputs["weight"]
    if attributes["x_bits"] == 8:
        product = _integers(x, weight)
    else:
        product = x.astype(np.float64) @ _values(weight).T
    return {"y": dense(fused.finish(product, inputs, attributes))}


def rounded(x: F32) -> tuple[I8, F32]:
    """Every row as bytes and a scale: byte = round_half_even(x / scale), of the exact quotient.

    Args:
        x: (n, k) float32.

    Returns:
        Bytes (n, k) int8 in ±127, and scales (n,) float32: max |x| times 1 / 127, both and the
        product rounded to float32 (a division would not be the same on every device), at least the
        smallest normal number. A row that is not finite has zeros and the scale NaN.
    """
    largest: F32 = np.abs(x).max(axis=1, initial=0.0)
    finite = np.isfinite(largest)
    held: F32 = np.where(finite, largest, np.float32(0.0)).astype(np.float32)
    step: F32 = np.maximum(held * (np.float32(1.0) / np.float32(TOP)), _SMALLEST_SCALE)
    quotients = np.where(finite[:, None], x, 0.0).astype(np.float64) / step[:, None]
    scale: F32 = np.where(finite, step, np.nan).astype(np.float32)
    return np.rint(quotients).astype(np.int8), scale


def _integers(x: F32, weight: Tensor) -> F64:
    """The product of rounded rows, in float64, where every sum of a group is an exact integer."""
    rows, cols = weight.shape
    scale = weight.parts["scale"].astype(np.float64)
    groups = scale.shape[1] if cols else 0
    if not groups:
        return np.zeros((x.shape[0], rows))
    values, x_scale = rounded(x)
    left = values.astype(np.float64).reshape(-1, groups, cols // groups).transpose(1, 0, 2)
    right = affine.codes(weight).astype(np.float64).reshape(rows, groups, cols // groups)
    sums = left @ right.transpose(1, 2, 0)  # (groups, n, rows)
    total: F64 = np.zeros(sums.shape[1:])
    for group in range(groups):
        total += sums[group] * scale[:, group]
    return total * x_scale[:, None]


def _values(weight: Tensor) -> F64:
    """code × scale in float64; (rows, cols)."""
    scale, cols = weight.parts["scale"].astype(np.float64), weight.shape[1]
    spread = np.repeat(scale, cols // max(scale.shape[1], 1), axis=1)
    return affine.codes(weight).astype(np.float64) * spread


def gemm_i4_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 n m k flops for the product, n m each for bias and relu; a code is half a byte."""
    (n, k), (m, _) = dims.matrix(inputs, "x"), dims.matrix(inputs, "weight")
    flops = 2 * n * m * k + fused.flops(inputs, attributes, n * m)
    return Cost(float(flops), dims.traffic(inputs.values(), [dims.f32(n, m)]))


def gemm_i4_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Groups that do and do not fill 32 columns, odd rows, ties, and every extreme code."""
    for name, n, m, k, group in (
        ("one_row", 1, 10, 64, 32),
        ("one_element", 1, 1, 1, 1),
        ("odd_sizes", 3, 19, 37, 37),
        ("whole_tiles", 64, 64, 64, 64),
        ("beyond_tiles", 65, 67, 256, 128),
        ("small_groups", 2, 5, 48, 16),
        ("uneven_groups", 4, 7, 192, 96),
        ("empty_batch", 0, 5, 7, 7),
        ("no_columns", 3, 4, 0, 1),
    ):
        weight = affine.quantize(_weight(rng, m, k), int4_per_group(group))
        inputs = {"x": samples.normal(rng, n, k), "weight": weight}
        biased = inputs | {"bias": samples.normal(rng, m)}
        for bits in (32, 8):
            yield Case(f"{name}_{bits}", inputs, {"x_bits": bits})
            relu: Attributes = {"x_bits": bits, "activation": "relu"}
            yield Case(f"{name}_{bits}_bias_relu", biased, relu)
    yield from _edges(rng)


def _edges(rng: np.random.Generator) -> Iterator[Case]:
    plain = affine.quantize(_weight(rng, 9, 64), int4_per_group(32))
    nan = samples.with_nan(samples.normal(rng, 5, 64), 2, 7)
    infinite = samples.f32(np.array([[np.inf, *[1.0] * 63], [-1.0] * 64]))
    for bits in (32, 8):
        given: Attributes = {"x_bits": bits}
        yield Case(f"extreme_codes_{bits}", {"x": ties(), "weight": _extremes()}, given)
        yield Case(f"nan_in_one_row_{bits}", {"x": nan, "weight": plain}, given)
        yield Case(f"all_zero_{bits}", {"x": samples.zeros(2, 64), "weight": plain}, given)
    yield Case("infinity_in_one_row", {"x": infinite, "weight": plain}, {"x_bits": 8})


def _weight(rng: np.random.Generator, rows: int, cols: int) -> F32:
    return samples.weight(rng, rows, cols).values.astype(np.float32)


def ties() -> Tensor:
    """The scale is 1 and then 2, so that most quotients lie in the middle of two integers."""
    halves = np.arange(-63, 64) + 0.5
    row = np.concatenate([[127.0], halves]).astype(np.float32)
    return samples.f32(np.stack([row, 2 * row, -row[::-1]]))


def _extremes() -> Tensor:
    """-8 is never made by our quantizer, yet it is a code that a file may hold."""
    codes: I8 = np.tile(np.array([-8, 7, -7, 0, 1, -1, 7, -8], np.int8), (3, 16))
    codes[1], codes[2] = 7, -8
    scale = np.array([[2**-9, 2**-12]] * 3, np.float32)
    parts: dict[str, Array] = {"codes": packing.join_nibbles(codes), "scale": scale}
    return Tensor(Layout.INT4_GROUP, Dtype.F32, (3, 128), parts)


GEMM_I4 = OperatorSpec(
    name="gemm_i4",
    inputs=(Port("x"), Port("weight", Layout.INT4_GROUP), fused.BIAS),
    outputs=(Port("y"),),
    infer=fused.types,
    reference=gemm_i4,
    cost=gemm_i4_cost,
    cases=gemm_i4_cases,
    attributes=(fused.ACTIVATION, X_BITS),
    tolerance=Tolerance(rtol=1e-5, atol=1e-5),
)
