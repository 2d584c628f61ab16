"""Layers in integers: bytes go from one product to the next, with scales that were fixed before."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared.network import rewrites
from shared.network.graph import Network, Step
from shared.operators.spec import Attributes, Scalar
from shared.quantization.ranges import Affine
from shared.tensors.dtypes import I32
from shared.tensors.layouts import Tensor, dense

FROM, TO = "gemm_i8", "gemm_q8"
F64 = npt.NDArray[np.float64]
MOST = 2**30  # steps of a bias: sums of products have room beside it


def static(network: Network, scales: Mapping[str, Affine]) -> Network:
    """Products with INT8 weights that read bytes, and make bytes where nothing else reads them.

    What a product reads is rounded once, by the step before where that is such a product too.

    Args:
        scales: by name of a gemm_i8 step, the codes of what it reads; the same for the same value.

    Raises:
        ValueError: a step is no such product; names it.
    """
    steps = {step.name: step for step in network.steps}
    for name in scales:
        if name not in steps or steps[name].operator != FROM:
            raise ValueError(f"{name!r} is no product with an INT8 weight")
    codes = {steps[name].inputs["x"]: affine for name, affine in scales.items()}
    made = _made_as_bytes(network, scales)
    weights, changed, rounded = dict(network.weights), list[Step](), set[str]()
    for step in network.steps:
        if step.name not in scales:
            changed.append(step)
            continue
        read = step.inputs["x"]
        if read not in made and read not in rounded:
            changed.append(_rounding(read, codes[read]))
            rounded.add(read)
        wanted = codes[step.outputs["y"]] if step.outputs["y"] in made else None
        x = read if read in made else f"{read}:i8"
        changed.append(_product(network, step, x, (codes[read], wanted), weights))
    kept = tuple(changed)
    return replace(network, steps=kept, weights=rewrites.only_read(network, kept, weights))


def _made_as_bytes(network: Network, scales: Mapping[str, Affine]) -> set[str]:
    """Values that such a product makes and only such products read."""
    made = {step.outputs["y"] for step in network.steps if step.name in scales}
    for step in network.steps:
        for port, value in step.inputs.items():
            if step.name not in scales or port != "x":
                made.discard(value)
    read = {step.inputs["x"] for step in network.steps if step.name in scales}
    return (made & read) - set(network.outputs)


def _rounding(value: str, codes: Affine) -> Step:
    given: Attributes = {"scale": codes.scale, "zero": codes.zero}
    return Step(f"{value}:quantize", "quantize_i8", {"x": value}, {"y": f"{value}:i8"}, given)


def _product(
    network: Network,
    step: Step,
    x: str,
    codes: tuple[Affine, Affine | None],
    weights: dict[str, Tensor],
) -> Step:
    """The product of bytes; its bias becomes a weight of int32."""
    read, wanted = codes
    inputs = {"x": x, "weight": step.inputs["weight"]}
    if "bias" in step.inputs:
        bias = weights[step.inputs["bias"]].values.astype(np.float64)
        weight = _with_room(weights[inputs["weight"]], bias, read.scale)
        if weight is not weights[inputs["weight"]]:
            inputs["weight"] = rewrites.unused(f"{inputs['weight']}:wide", weights)
            weights[inputs["weight"]] = weight
        inputs["bias"] = rewrites.unused(f"{step.inputs['bias']}:i32", weights)
        weights[inputs["bias"]] = dense(_steps(weight, bias, read.scale))
    given: dict[str, Scalar] = {"x_scale": read.scale, "x_zero": read.zero, "to": "f32"}
    if wanted is not None:
        given |= {"y_scale": wanted.scale, "y_zero": wanted.zero, "to": "i8"}
    kept = {key: value for key, value in step.attributes.items() if key == "activation"}
    return Step(step.name, TO, inputs, step.outputs, {**given, **kept})


def _with_room(weight: Tensor, bias: F64, x_scale: float) -> Tensor:
    """The weight with larger steps in rows whose bias would be more than `MOST` steps of their
    sums: rows of zeros, and rows that read what never was anything but zero. What their codes lose
    is nothing beside the bias."""
    scale = weight.parts["scale"]
    wanted = np.minimum(np.abs(bias) / (MOST * x_scale), np.finfo(np.float32).max)
    wide = np.maximum(scale, wanted.reshape(scale.shape)).astype(np.float32)
    if (wide == scale).all():
        return weight
    kept = weight.parts["codes"].astype(np.float64) * (scale.astype(np.float64) / wide)
    return replace(weight, parts={"codes": np.rint(kept).astype(np.int8), "scale": wide})


def _steps(weight: Tensor, bias: F64, x_scale: float) -> I32:
    """The bias in steps of the sums of its row: x_scale × scale; (outputs,) int32."""
    scale = weight.parts["scale"].astype(np.float64).reshape(-1)
    return np.clip(np.rint(bias / (scale * x_scale)), -MOST, MOST).astype(np.int32)
