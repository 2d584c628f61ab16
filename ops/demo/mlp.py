"""Multi-layer perceptrons of the demo and the benchmarks: layers in numpy, and their ONNX file."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class Layer:
    """One dense layer: weight (outputs, inputs) and bias (outputs,), float32."""

    weight: F32
    bias: F32


def predict(layers: list[Layer], x: F32) -> F32:
    """Scores (n, 10) of the network; the larger, the likelier."""
    return forward(layers, x)[-1]


def forward(layers: list[Layer], x: F32) -> list[F32]:
    """The input, the value after every hidden layer (ReLU), and the scores."""
    values = [x]
    for index, layer in enumerate(layers):
        total = values[-1] @ layer.weight.T + layer.bias
        values.append(total if index == len(layers) - 1 else np.maximum(total, 0))
    return values


def to_onnx(layers: list[Layer]) -> bytes:
    """Write the network as an ONNX file: Gemm and Relu, weights inside, an open batch."""
    nodes, constants, value = [], [], "pixels"
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        constants.append(numpy_helper.from_array(layer.weight, f"weight_{index}"))
        constants.append(numpy_helper.from_array(layer.bias, f"bias_{index}"))
        made = "scores" if last else f"sum_{index}"
        names = [value, f"weight_{index}", f"bias_{index}"]
        nodes.append(helper.make_node("Gemm", names, [made], name=f"dense_{index}", transB=1))
        if not last:
            value = f"hidden_{index}"
            nodes.append(helper.make_node("Relu", [made], [value], name=f"relu_{index}"))
    pixels = helper.make_tensor_value_info(
        "pixels", TensorProto.FLOAT, ["batch", layers[0].weight.shape[1]]
    )
    scores = helper.make_tensor_value_info(
        "scores", TensorProto.FLOAT, ["batch", layers[-1].weight.shape[0]]
    )
    graph = helper.make_graph(nodes, "digits", [pixels], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
