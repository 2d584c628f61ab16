"""Products with constant matrices: Gemm, MatMul, and BatchNormalization as scale and offset."""

import numpy as np

from services.compressor.importers import onnx_elements
from services.compressor.importers.builder import Activation, Builder, Unsupported, as_f32
from services.compressor.importers.onnx_node import Node
from shared.contracts.errors import InvalidNetwork
from shared.tensors.dtypes import F32, Array


def gemm(node: Node, builder: Builder) -> Activation:
    """y = alpha x B + beta C, or with B transposed; alpha goes into the weight, beta into C."""
    if node.integer("transA", 0):
        raise Unsupported("transA = 1 would mix the rows of a batch")
    x, matrix = node.activation(0), _matrix(node, 1)
    if not node.integer("transB", 0):
        matrix = matrix.T
    alpha = np.float32(node.number("alpha", 1.0))
    weight = matrix if alpha == 1 else matrix * alpha
    if not node.has(2):
        return _product(node, builder, x, weight, None)
    beta = np.float32(node.number("beta", 1.0))
    if isinstance(node.inputs[2], Activation):
        y = _product(node, builder, x, weight, None)
        return onnx_elements.sum_of(node, builder, y, _scaled(node, builder, beta))
    bias = as_f32(node.name, node.constant(2)) * beta
    return _product(node, builder, x, weight, _row(bias, weight.shape[0]))


def matmul(node: Node, builder: Builder) -> Activation:
    """y = x B for a constant matrix B; further dimensions of x ride along as rows."""
    x, weight = node.activation(0), _matrix(node, 1).T
    if len(x.tail) < 2:
        return _product(node, builder, x, weight, None)
    *lead, inner = x.tail
    rows = builder.step("reshape", node.name, {"x": x.name}, (inner,), shape=(-1, inner))
    y = _product(node, builder, rows, weight, None)
    tail = (*lead, weight.shape[0])
    return builder.step("reshape", node.name, {"x": y.name}, tail, shape=(-1, *tail))


def batch_normalization(node: Node, builder: Builder) -> Activation:
    """y = x s + (b - mean s) with s = scale / sqrt(var + epsilon), per channel (dimension 1)."""
    if node.integer("training_mode", 0):
        raise Unsupported("training_mode = 1")
    x = node.activation(0)
    scale, offset, mean, variance = (
        node.constant(position).astype(np.float64) for position in range(1, 5)
    )
    shapes = {scale.shape, offset.shape, mean.shape, variance.shape}
    if not x.tail or shapes != {(x.tail[0],)}:
        raise InvalidNetwork(f"{node.name[:80]!r} normalises {x.tail} with {sorted(shapes)}")
    with np.errstate(all="ignore"):  # a negative variance is refused as not finite below
        factor = scale / np.sqrt(variance + node.number("epsilon", 1e-5))
        shift = offset - mean * factor
    spread = (-1,) + (1,) * (len(x.tail) - 1)  # channel first, then places
    scaled = onnx_elements.with_constant(node, builder, "mul", x, factor.reshape(spread))
    return onnx_elements.with_constant(node, builder, "add", scaled, shift.reshape(spread))


def _matrix(node: Node, position: int) -> F32:
    values = node.constant(position)
    if values.ndim != 2:
        raise Unsupported(f"input {position} has rank {values.ndim}, not 2")
    return as_f32(node.name, values)


def _row(bias: Array, outputs: int) -> F32:
    """C of a Gemm as one value per output.

    Args:
        bias: broadcastable to (n, outputs) float32.
        outputs: rows of the weight.
    """
    if bias.ndim > 2 or (bias.ndim == 2 and bias.shape[0] != 1) or bias.size not in (1, outputs):
        raise Unsupported(f"C of shape {bias.shape} is not one value per output ({outputs})")
    return np.broadcast_to(bias.reshape(-1), (outputs,)).astype(np.float32)


def _scaled(node: Node, builder: Builder, beta: np.float32) -> Activation:
    added = node.activation(2)
    if beta == 1:
        return added
    return onnx_elements.with_constant(node, builder, "mul", added, np.asarray(beta))


def _product(
    node: Node, builder: Builder, x: Activation, weight: F32, bias: F32 | None
) -> Activation:
    """The step gemm_f32.

    Args:
        node: names the step and its weights.
        builder: takes them.
        x: one row of it is (k,).
        weight: (m, k) float32.
        bias: (m,) float32.
    """
    rows, cols = weight.shape
    if x.tail != (cols,):
        raise InvalidNetwork(f"{node.name[:80]!r} multiplies rows of {x.tail} by ({cols}, {rows})")
    inputs = {"x": x.name, "weight": builder.weight(f"{node.name}.weight", weight)}
    if bias is not None:
        inputs["bias"] = builder.weight(f"{node.name}.bias", bias)
    return builder.step("gemm_f32", node.name, inputs, (rows,), activation="none")
