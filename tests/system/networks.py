"""A small classifier whose answers are known, as an ONNX file and as numpy."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from shared.tensors.dtypes import F32, Array

INPUTS, HIDDEN, CLASSES, ROWS = 32, 96, 4, 200


@dataclass(frozen=True, slots=True)
class Classifier:
    """y = relu(x W1ᵀ) W2ᵀ; weights (96, 32) and (4, 96), f32."""

    hidden: F32
    output: F32

    def scores(self, x: F32) -> F32:
        """(n, 32) f32 to (n, 4) f32."""
        return np.maximum(x @ self.hidden.T, 0) @ self.output.T

    def onnx(self) -> bytes:
        """The same network as a file."""
        nodes = [
            helper.make_node("Gemm", ["x", "w1"], ["h"], transB=1),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2"], ["scores"], transB=1),
        ]
        float_ = TensorProto.FLOAT
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("x", float_, ["batch", INPUTS])],
            [helper.make_tensor_value_info("scores", float_, ["batch", CLASSES])],
            [
                numpy_helper.from_array(self.hidden, "w1"),
                numpy_helper.from_array(self.output, "w2"),
            ],
        )
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def classifier(rng: np.random.Generator) -> Classifier:
    """Random weights; pruning most of them must change what it answers."""
    hidden = rng.normal(size=(HIDDEN, INPUTS)).astype(np.float32)
    return Classifier(hidden, rng.normal(size=(CLASSES, HIDDEN)).astype(np.float32))


def samples(network: Classifier, rng: np.random.Generator) -> tuple[F32, Array]:
    """Inputs (200, 32) and what the network itself says of them: its accuracy there is 100 %."""
    x = rng.normal(size=(ROWS, INPUTS)).astype(np.float32)
    return x, network.scores(x).argmax(axis=1)
