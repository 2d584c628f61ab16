"""Whole layers in integers, with ranges that were fixed beforehand: bytes in, bytes out.

Bit by bit the same on every device: sums are integers, and what is left are single products and
roundings of float32, which IEEE 754 defines. A quotient is a product with the reciprocal, because
the division of a card may be off by two units in the last place.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", eq. 4 to 7, with a float32 multiplier.
"""

import numpy as np
import numpy.typing as npt

from shared.operators import dims, fused, plain_gradients, static_cases
from shared.operators.attributes import single, whole
from shared.operators.spec import (
    Attribute,
    Attributes,
    Cost,
    OperatorSpec,
    Port,
    Tensors,
    Types,
)
from shared.quantization import affine
from shared.tensors.dtypes import F32, I8, I32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

LOW, HIGH = -128, 127
_SMALLEST_SCALE = float(np.finfo(np.float32).smallest_normal)
I64 = npt.NDArray[np.int64]


def rounded(scaled: F32, zero: int) -> I8:
    """The nearest integers, ties to even, moved by zero and saturated; NaN is zero's code."""
    known: F32 = np.where(np.isnan(scaled), np.float32(0.0), scaled)
    found = np.clip(np.rint(known), LOW - zero, HIGH - zero).astype(np.int32)
    return (found + zero).astype(np.int8)


def quantize_i8(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = saturate(round_half_even(x × (1 / scale)) + zero); reciprocal and product in float32."""
    x: F32 = inputs["x"].values.view(np.float32)
    inverse = np.float32(1.0) / single(attributes, "scale")
    return {"y": dense(rounded(np.asarray(x * inverse), whole(attributes, "zero")))}


def dequantize_i8(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = (x - zero) × scale, the product in float32."""
    steps = inputs["x"].values.astype(np.int32) - whole(attributes, "zero")
    made: F32 = steps.astype(np.float32) * single(attributes, "scale")
    return {"y": dense(np.asarray(made))}


def gemm_q8(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation((x - x_zero) codesᵀ + bias), scaled.

    The sum S is an integer modulo 2**32, the bias counts in steps of x_scale × scale. As f32, y is
    S × (scale × x_scale); as i8, saturate(round_half_even(S × (scale × r)) + y_zero), where r is
    x_scale / y_scale rounded to float32; each × is one product of float32.
    """
    weight = inputs["weight"]
    x: I64 = inputs["x"].values.astype(np.int64) - whole(attributes, "x_zero")
    sums: I64 = x @ affine.codes(weight).astype(np.int64).T
    if "bias" in inputs:
        sums = sums + inputs["bias"].values.astype(np.int64)
    scale: F32 = weight.parts["scale"].view(np.float32).reshape(-1)
    return {"y": dense(finished(sums.astype(np.int32), scale, attributes))}


def finished(sums: I32, scale: F32, attributes: Attributes) -> F32 | I8:
    """What `gemm_q8` makes of its sums.

    Args:
        sums: (n, m) int32, with bias.
        scale: (m,) float32, of the rows of the weight.
        attributes: complete.
    """
    if attributes["activation"] == "relu":
        sums = np.maximum(sums, np.int32(0))
    scaled: F32 = sums.astype(np.float32) * (scale * multiplier(attributes))
    if attributes["to"] == "f32":
        return scaled
    return rounded(scaled, whole(attributes, "y_zero"))


def multiplier(attributes: Attributes) -> np.float32:
    """What the scale of a row of the weight is multiplied by to scale a sum."""
    x_scale = single(attributes, "x_scale")
    if attributes["to"] == "f32":
        return x_scale
    return np.float32(np.float64(x_scale) / np.float64(single(attributes, "y_scale")))


def _map_types(dtype: Dtype, inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    _require(attributes, "scale", "zero")
    return {"y": TensorType(Layout.DENSE, dtype, dims.sizes(inputs["x"]))}


def quantize_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x of any shape gives bytes of that shape."""
    return _map_types(Dtype.I8, inputs, attributes)


def dequantize_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """Bytes of any shape give float32 of that shape."""
    return _map_types(Dtype.F32, inputs, attributes)


def gemm_q8_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x (n, k), weight (m, k), bias (m,) give y (n, m), as float32 or bytes."""
    _require(attributes, "x_scale", "x_zero")
    _require(attributes, "y_scale", "y_zero")
    shape = fused.types(inputs, attributes)["y"].shape
    dtype = Dtype.F32 if attributes["to"] == "f32" else Dtype.I8
    return {"y": TensorType(Layout.DENSE, dtype, shape)}


def _require(attributes: Attributes, scale: str, zero: str) -> None:
    if not _SMALLEST_SCALE <= single(attributes, scale) < np.inf:
        least = f"a normal float32, {_SMALLEST_SCALE:.3g} at least"
        raise ValueError(f"{scale} must be {least}, got {attributes[scale]}")
    if not LOW <= whole(attributes, zero) <= HIGH:
        raise ValueError(f"{zero} must be a code of {LOW}..{HIGH}, got {attributes[zero]}")


def map_cost(inputs: Types, attributes: Attributes) -> Cost:
    """Two operations per element; one read and one written."""
    x = inputs["x"]
    made = TensorType(x.layout, Dtype.I8 if x.dtype is Dtype.F32 else Dtype.F32, x.shape)
    return Cost(2.0 * dims.elements(x), dims.traffic([x], [made]))


def gemm_q8_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 n m k operations for the product, n m each for scale, bias and relu."""
    (n, k), (m, _) = dims.matrix(inputs, "x"), dims.matrix(inputs, "weight")
    flops = 2 * n * m * k + n * m + fused.flops(inputs, attributes, n * m)
    return Cost(
        float(flops), dims.traffic(inputs.values(), gemm_q8_types(inputs, attributes).values())
    )


_BYTES = (Dtype.I8,)
_SCALE = Attribute("scale", float, None, "the size of a step")
_ZERO = Attribute("zero", int, 0, "the code of zero")

QUANTIZE_I8 = OperatorSpec(
    name="quantize_i8",
    inputs=(Port("x"),),
    outputs=(Port("y", dtypes=_BYTES),),
    infer=quantize_types,
    reference=quantize_i8,
    cost=map_cost,
    cases=static_cases.quantize,
    attributes=(_SCALE, _ZERO),
    gradient=plain_gradients.quantize_i8,
    jumps=True,
)
DEQUANTIZE_I8 = OperatorSpec(
    name="dequantize_i8",
    inputs=(Port("x", dtypes=_BYTES),),
    outputs=(Port("y"),),
    infer=dequantize_types,
    reference=dequantize_i8,
    cost=map_cost,
    cases=static_cases.dequantize,
    attributes=(_SCALE, _ZERO),
    gradient=plain_gradients.dequantize_i8,
)
GEMM_Q8 = OperatorSpec(
    name="gemm_q8",
    inputs=(
        Port("x", dtypes=_BYTES),
        Port("weight", Layout.INT8_CHANNEL),
        Port("bias", dtypes=(Dtype.I32,), optional=True),
    ),
    outputs=(Port("y", dtypes=(Dtype.F32, Dtype.I8)),),
    infer=gemm_q8_types,
    reference=gemm_q8,
    cost=gemm_q8_cost,
    cases=static_cases.gemm_q8,
    attributes=(
        Attribute("x_scale", float, None, "the size of a step of x"),
        Attribute("x_zero", int, 0, "the code of zero in x"),
        Attribute("y_scale", float, 1.0, "the size of a step of y, as i8"),
        Attribute("y_zero", int, 0, "the code of zero in y, as i8"),
        Attribute("to", str, "f32", "the element type of y", choices=("f32", "i8")),
        fused.ACTIVATION,
    ),
    jumps=True,
)
