"""Sums, means and largest values over axes of a row, one step per axis."""

from collections.abc import Callable
from functools import partial

import numpy as np

from services.compressor.importers import onnx_elements, onnx_shapes
from services.compressor.importers.builder import Builder, Unsupported
from services.compressor.importers.onnx_node import Node, Value
from shared.contracts.errors import InvalidNetwork
from shared.tensors.dtypes import Array

Function = Callable[..., Array]


def _reduce(
    operator: str, function: Function, axes_since: int, node: Node, builder: Builder
) -> Value:
    """Reduce over the given axes, the last one first, so that those before keep their places.

    Args:
        operator: the step's.
        function: the same for constants, as numpy has it.
        axes_since: the opset from which the axes are an input; an attribute before.
        node: the node.
        builder: takes the steps.
    """
    given = _axes(node, axes_since)
    if not given and node.integer("noop_with_empty_axes", 0):
        return onnx_elements.identity(node, builder)
    keepdims = bool(node.integer("keepdims", 1))
    if node.is_constant():
        held = node.constant(0)
        axes = tuple(sorted(onnx_shapes.chosen(node, given, held.ndim))) if given else None
        return _folded(node, function, held, axes, keepdims)
    x = node.activation(0)
    axes = tuple(sorted(onnx_shapes.chosen(node, given, len(x.tail) + 1))) if given else (0,)
    if 0 in axes:
        raise Unsupported("the rows of a batch would be joined")
    for axis in reversed(axes):
        kept = (1,) if keepdims else ()
        tail = (*x.tail[: axis - 1], *kept, *x.tail[axis:])
        x = builder.step(operator, node.name, {"x": x.name}, tail, axis=axis, keepdims=keepdims)
    return x


def _axes(node: Node, since: int) -> tuple[int, ...] | None:
    """Axes are an attribute at first, an input from opset `since` on; None or none are all."""
    if node.opset < since:
        return node.integers("axes")
    return onnx_shapes.sizes(node, 1) if node.has(1) else None


def _folded(
    node: Node, function: Function, held: Array, axes: tuple[int, ...] | None, keepdims: bool
) -> Array:
    """Compute with a constant; its element type stays."""
    try:
        with np.errstate(all="ignore"):
            made = np.asarray(function(held, axis=axes, keepdims=keepdims))
    except ValueError as error:  # the largest of nothing
        raise InvalidNetwork(f"{node.name[:80]!r}: {error}") from None
    return made.astype(held.dtype)


reduce_sum = partial(_reduce, "reduce_sum", np.sum, 13)
reduce_mean = partial(_reduce, "reduce_mean", np.mean, 18)
reduce_max = partial(_reduce, "reduce_max", np.max, 18)
