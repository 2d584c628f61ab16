"""The ONNX operators that can be read, each with what builds its counterpart. This is the list."""

from collections.abc import Callable

from services.compressor.importers import (
    onnx_elements,
    onnx_products,
    onnx_quantized,
    onnx_reductions,
    onnx_shapes,
)
from services.compressor.importers.builder import Builder
from services.compressor.importers.onnx_node import Node, Value

Translator = Callable[[Node, Builder], Value]

OPERATORS: dict[str, Translator] = {
    "Add": onnx_elements.add,
    "BatchNormalization": onnx_products.batch_normalization,
    "Cast": onnx_elements.cast,
    "Clip": onnx_elements.clip,
    "Constant": onnx_elements.constant,
    "DequantizeLinear": onnx_quantized.dequantize,
    "Div": onnx_elements.divide,
    "Dropout": onnx_elements.dropout,
    "Flatten": onnx_shapes.flatten,
    "Gemm": onnx_products.gemm,
    "Identity": onnx_elements.identity,
    "MatMul": onnx_products.matmul,
    "Mul": onnx_elements.multiply,
    "ReduceMax": onnx_reductions.reduce_max,
    "ReduceMean": onnx_reductions.reduce_mean,
    "ReduceSum": onnx_reductions.reduce_sum,
    "Relu": onnx_elements.relu,
    "Reshape": onnx_shapes.reshape,
    "Sigmoid": onnx_elements.sigmoid,
    "Softmax": onnx_elements.softmax,
    "Squeeze": onnx_shapes.squeeze,
    "Sub": onnx_elements.subtract,
    "Tanh": onnx_elements.tanh,
    "Transpose": onnx_shapes.transpose,
    "Unsqueeze": onnx_shapes.unsqueeze,
}
