"""Products as ONNX nodes. Weights of few bits stay so, behind a DequantizeLinear.

Every product with the batch first is a Gemm with the weight (outputs, inputs): dense, or restored
from int8 with a scale per output, or from int4 with a scale per block of a row, or from unsigned
codes with zeros, of which ONNX knows those of 4 and of 8 bits. Not a MatMul: by
default ONNX Runtime 1.32 joins that with its DequantizeLinear and rounds x to bytes, so that the
file would answer otherwise than the network that was measured.

Rows that `gemm_i4` rounds to bytes are rounded by nodes, which divide in float32: a value in the
middle of two bytes may become the other one.
"""

import numpy as np

from services.compressor.exporters.onnx_writer import Writer
from shared.network.graph import Step
from shared.operators.int4 import TOP
from shared.operators.spec import Attributes
from shared.quantization import affine
from shared.sparse import convert
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Layout, Tensor

_SMALLEST_SCALE = np.finfo(np.float32).smallest_normal


def dense(writer: Writer, step: Step) -> None:
    """gemm_f32: its weight may be any value of the graph."""
    x, weight = (writer.read(step.inputs[port]) for port in ("x", "weight"))
    _gemm(writer, step, x, weight)


def quantized(writer: Writer, step: Step) -> None:
    """gemm_i8, gemm_i4 and gemm_int."""
    weight = writer.network.weights[step.inputs["weight"]]
    x = writer.read(step.inputs["x"])
    if step.attributes.get("x_bits") == 8 and weight.shape[1]:
        x = _rounded(writer, step.name, x)
    _gemm(writer, step, x, dequantized(writer, step.inputs["weight"], weight))


def sparse(writer: Writer, step: Step) -> None:
    """spmm_*: no runtime reads our layouts, so zeros are written out."""
    weight = writer.network.weights[step.inputs["weight"]]
    values = writer.constant(f"{step.inputs['weight']}.dense", convert.to_dense(weight))
    x = writer.read(step.inputs["x"])
    if step.attributes.get("batch_first"):
        _gemm(writer, step, x, values)
        return
    if "bias" not in step.inputs:
        _finished(writer, step, "MatMul", [values, x])
        return
    shape = writer.constant(f"{step.name}.column", np.array([-1, 1], np.int64))
    bias = writer.read(step.inputs["bias"])
    column = writer.node("Reshape", [bias, shape], f"{step.name}.bias")
    _finished(writer, step, "Gemm", [values, x, column])


def _gemm(writer: Writer, step: Step, x: str, weight: str) -> None:
    """x weightᵀ + bias, and the activation."""
    bias = [writer.read(step.inputs["bias"])] if "bias" in step.inputs else []
    _finished(writer, step, "Gemm", [x, weight, *bias], {"transB": 1})


def _finished(
    writer: Writer, step: Step, operator: str, read: list[str], attributes: Attributes | None = None
) -> None:
    """The last node of a product, and its activation."""
    output = step.outputs["y"]
    if step.attributes.get("activation") == "relu":
        made = writer.node(operator, read, f"{step.name}.sum", attributes=attributes)
        writer.node("Relu", [made], step.name, output=output)
    else:
        writer.node(operator, read, step.name, output=output, attributes=attributes)


def dequantized(writer: Writer, name: str, weight: Tensor) -> str:
    """The values of a quantized weight, (outputs, inputs) float32."""
    scale: F32 = weight.parts["scale"].view(np.float32)
    numbers: dict[str, Array] = {"codes": _integers(weight), "scale": _shared(scale, weight)}
    if weight.layout is Layout.INT_GROUP:
        zero = np.broadcast_to(weight.parts["zero"], scale.shape)
        numbers["zero"] = _shared(zero, weight)
    read = [_constant(writer, f"{name}.{part}", held, weight) for part, held in numbers.items()]
    groups = scale.shape[1]
    layout = {"axis": 0} if groups <= 1 else {"axis": 1, "block_size": weight.shape[1] // groups}
    return writer.node("DequantizeLinear", read, f"{name}.values", attributes=layout)


def _integers(weight: Tensor) -> Array:
    """The codes as they are stored, one per element."""
    signed = weight.layout is not Layout.INT_GROUP
    return affine.codes(weight) if signed else affine.unsigned(weight)


def _shared(numbers: Array, weight: Tensor) -> Array:
    """Numbers per group as ONNX wants them: of blocks, of rows, or one for all."""
    if numbers.shape[1] > 1:  # blocks have rows of their own
        return np.broadcast_to(numbers, (weight.shape[0], numbers.shape[1]))
    one = numbers.shape[0] == 1 != weight.shape[0]
    return numbers.reshape(()) if one else numbers.reshape(-1)


def _constant(writer: Writer, name: str, held: Array, weight: Tensor) -> str:
    """A constant of the narrowest type of ONNX that holds the codes; scales are float32."""
    if held.dtype == np.float32 or _wide(weight):
        return writer.constant(name, held)
    if held.dtype == np.int8:
        return writer.nibbles(name, held.view(np.int8))
    return writer.unsigned_nibbles(name, held.view(np.uint8))


def _wide(weight: Tensor) -> bool:
    """Whether codes need more than four bits."""
    if weight.layout is Layout.INT_GROUP:
        return int(weight.parts["bits"][0]) > 4
    return weight.layout is Layout.INT8_CHANNEL


def _rounded(writer: Writer, step: str, x: str) -> str:
    """Every row as 127 steps to each side of zero: the rule of operators.int4.rounded."""

    def number(name: str, value: np.float32) -> str:
        return writer.constant(f"{step}.{name}", np.asarray(value, np.float32))

    axis = writer.constant(f"{step}.axis", np.array([1], np.int64))
    sizes = writer.node("Abs", [x], f"{step}.sizes")
    largest = writer.node("ReduceMax", [sizes, axis], f"{step}.largest", attributes={"keepdims": 1})
    share = number("share", np.float32(1.0) / np.float32(TOP))
    scaled = writer.node("Mul", [largest, share], f"{step}.scaled")
    least = number("least", _SMALLEST_SCALE)
    unit = writer.node("Max", [scaled, least], f"{step}.step")
    quotients = writer.node("Div", [x, unit], f"{step}.quotients")
    whole = writer.node("Round", [quotients], f"{step}.bytes")
    return writer.node("Mul", [whole, unit], f"{step}.rounded")
