"""Products with quantized weights; who computes them is the engine's choice, see `engine`."""

from collections.abc import Callable, Mapping

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.engine import Engine
from services.cpu_worker.held import Arrays, Held
from services.cpu_worker.integer.weight import Grouped, Quantized, Summing, scaled
from shared.operators.attributes import whole
from shared.operators.spec import Attributes
from shared.tensors.dtypes import F32


def gemm(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """Float32 rows of x, or rows rounded to bytes where `x_bits` is 8, times a quantized weight."""
    weight, x = _weight(inputs), held.array(inputs["x"])
    rows = held.packed(inputs["weight"]).tensor.shape[0]
    if not x.size or not rows:
        made: F32 = np.zeros((x.shape[0], rows), dtype=np.float32)
    elif attributes.get("x_bits") == 8:
        made = _by_octets(engine, weight, x)
    else:
        made = weight.multiply(x)
    return {"y": _finished(made, inputs, attributes)}


def gemm_q8(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """Rows of bytes times a weight of bytes, in exact sums; see `operators.static`."""
    weight, x = _weight(inputs), held.octets(inputs["x"])
    assert isinstance(weight, Summing)  # the port's layout
    rows = weight.scale.size
    if x.size and rows:
        sums = weight.sums(x)
        if zero := whole(attributes, "x_zero"):
            sums -= weight.totals * np.int32(zero)
    else:
        sums = np.zeros((x.shape[0], rows), dtype=np.int32)
    if "bias" in inputs:
        sums += held.integers(inputs["bias"])
    return {"y": engine.finished(sums, weight.scale, attributes)}


def _by_octets(engine: Engine, weight: Quantized, x: F32) -> F32:
    octets, x_scale = engine.rounded(x)
    if isinstance(weight, Summing):
        return scaled(weight.sums(octets), x_scale, weight.scale)
    assert isinstance(weight, Grouped)  # the other kind
    made = weight.multiply_octets(octets)
    made *= x_scale[:, np.newaxis]
    return made


def _weight(inputs: Mapping[str, Held]) -> Quantized:
    weight = held.packed(inputs["weight"]).weight
    assert isinstance(weight, Quantized)  # the port's layout
    return weight


def _finished(made: F32, inputs: Mapping[str, Held], attributes: Attributes) -> F32:
    """Add the bias and clip at zero, in place; (n, rows) float32."""
    if "bias" in inputs:
        made += held.array(inputs["bias"])
    if attributes["activation"] == "relu":
        np.maximum(made, 0.0, out=made)
    return made


OPERATORS: dict[str, Callable[[Engine, Mapping[str, Held], Attributes], Arrays]] = {
    "gemm_i8": gemm,
    "gemm_i4": gemm,
    "gemm_int": gemm,
    "gemm_q8": gemm_q8,
}
