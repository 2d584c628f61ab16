"""What products of rows share: types, and what they do before they write a result."""

import numpy as np
import numpy.typing as npt

from shared.operators import dims
from shared.operators.spec import Attribute, Attributes, Backward, Port, Tensors, Types
from shared.tensors.dtypes import F32
from shared.tensors.layouts import TensorType

BIAS = Port("bias", optional=True)
ACTIVATION = Attribute(
    "activation", str, "none", "applied to the sum with bias", choices=("none", "relu")
)


def types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x (n, k), weight (m, k), bias (m,) give y (n, m), whatever the weight's layout."""
    n, k = dims.matrix(inputs, "x")
    m, _ = dims.matrix(inputs, "weight")
    dims.require(inputs, "weight", (m, k), f"to multiply x {(n, k)}")
    dims.require(inputs, "bias", (m,), f"for weight {(m, k)}")
    return {"y": dims.f32(n, m)}


def finish(product: npt.NDArray[np.float64], inputs: Tensors, attributes: Attributes) -> F32:
    """Bias and activation of a reference, rounded to float32 once, between the two.

    Args:
        product: (n, m) float64.
        inputs: may hold `bias`, (m,) float32.
        attributes: complete; `activation` is read.

    Returns:
        (n, m) float32. relu keeps NaN.
    """
    bias = inputs["bias"].values.astype(np.float64) if "bias" in inputs else np.float64(0.0)
    rounded: F32 = (product + bias).astype(np.float32)
    return np.maximum(rounded, np.float32(0.0)) if attributes["activation"] == "relu" else rounded


def flops(inputs: Types, attributes: Attributes, results: int) -> int:
    """One addition per result for a bias, one comparison for relu."""
    return results * (("bias" in inputs) + (attributes["activation"] == "relu"))


def passed(call: Backward) -> F32:
    """The gradient before the activation: what comes back, zero where relu gave zero."""
    outer: F32 = call.outer["y"].values.view(np.float32)
    if call.attributes["activation"] != "relu":
        return outer
    y: F32 = call.outputs["y"].values.view(np.float32)
    return outer * (y > 0)
