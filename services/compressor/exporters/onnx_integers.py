"""Layers in integers as ONNX nodes: what runtimes join is a DequantizeLinear, a Gemm, a
QuantizeLinear."""

import numpy as np

from services.compressor.exporters.onnx_products import dequantized
from services.compressor.exporters.onnx_writer import Writer
from shared.network.graph import Step
from shared.operators import catalog, validate
from shared.operators.attributes import single, whole
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor


def integers(writer: Writer, step: Step) -> None:
    """gemm_q8 as runtimes know it: floats between a DequantizeLinear and a QuantizeLinear.

    They join the three; a result may then be a step away from ours.
    """
    weight = writer.network.weights[step.inputs["weight"]]
    x = _restored(writer, step, writer.read(step.inputs["x"]), "x")
    read = [x, dequantized(writer, step.inputs["weight"], weight)]
    if "bias" in step.inputs:
        read.append(_bias(writer, step, weight))
    bytes_out = step.attributes.get("to") == "i8"
    y = step.outputs["y"]
    made = writer.name(f"{y}.float") if bytes_out else y
    relu = step.attributes.get("activation") == "relu"
    total = writer.name(f"{step.name}.sum") if relu else made
    writer.node("Gemm", read, step.name, output=total, attributes={"transB": 1})
    if relu:
        writer.node("Relu", [total], f"{step.name}.relu", output=made)
    if bytes_out:
        writer.node("QuantizeLinear", [made, *_codes_of(writer, step, "y_")], f"{y}.q", output=y)


def quantize(writer: Writer, step: Step) -> None:
    """quantize_i8, which multiplies with a reciprocal where the runtime divides."""
    read = [writer.read(step.inputs["x"]), *_codes_of(writer, step, "")]
    writer.node("QuantizeLinear", read, step.name, output=step.outputs["y"])


def dequantize(writer: Writer, step: Step) -> None:
    """dequantize_i8."""
    read = [writer.read(step.inputs["x"]), *_codes_of(writer, step, "")]
    writer.node("DequantizeLinear", read, step.name, output=step.outputs["y"])


def _restored(writer: Writer, step: Step, x: str, port: str) -> str:
    return writer.node(
        "DequantizeLinear", [x, *_codes_of(writer, step, f"{port}_")], f"{step.name}.{port}"
    )


def _bias(writer: Writer, step: Step, weight: Tensor) -> str:
    """Its steps have the size of the sums' ones."""
    scale: F32 = weight.parts["scale"].view(np.float32).reshape(-1)
    by = single(step.attributes, "x_scale")
    sizes = writer.constant(f"{step.name}.bias.scale", np.asarray(scale * by))
    read = [writer.read(step.inputs["bias"]), sizes]
    return writer.node("DequantizeLinear", read, f"{step.name}.bias", attributes={"axis": 0})


def _codes_of(writer: Writer, step: Step, prefix: str) -> list[str]:
    """Scale and zero of a value, from the step's attributes."""
    filled = validate.complete(catalog.spec(step.operator), step.attributes)
    scale = np.asarray(single(filled, f"{prefix}scale"))
    zero = np.asarray(whole(filled, f"{prefix}zero"), np.int8)
    return [
        writer.constant(f"{step.name}.{prefix}scale", scale),
        writer.constant(f"{step.name}.{prefix}zero", zero),
    ]
