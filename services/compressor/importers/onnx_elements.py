"""Element by element: arithmetic with constants and between activations, activations, casts."""

from collections.abc import Callable
from math import prod

import numpy as np

from services.compressor.importers.builder import Activation, Builder, Unsupported, as_f32
from services.compressor.importers.onnx_node import Node, Value
from shared.contracts.errors import InvalidNetwork
from shared.network.shapes import MAX_ELEMENTS
from shared.tensors.dtypes import Array, Dtype

_TOP = float(np.finfo(np.float32).max)
_TYPES = {1: Dtype.F32, 2: Dtype.U8, 3: Dtype.I8, 4: Dtype.U16, 5: Dtype.I16, 6: Dtype.I32}
_TYPES |= {7: Dtype.I64, 9: Dtype.BOOL, 10: Dtype.F16, 11: Dtype.F64, 12: Dtype.U32, 13: Dtype.U64}


def add(node: Node, builder: Builder) -> Value:
    """a + b."""
    if node.is_constant():
        return _fold(node, np.add)
    return _either(node, builder, "add")


def multiply(node: Node, builder: Builder) -> Value:
    """a b."""
    if node.is_constant():
        return _fold(node, np.multiply)
    return _either(node, builder, "mul")


def subtract(node: Node, builder: Builder) -> Value:
    """a - b, as a + (-1) b."""
    if node.is_constant():
        return _fold(node, np.subtract)
    left, right = node.pair()
    if isinstance(right, Activation):
        negative = with_constant(node, builder, "mul", node.activation(1), np.asarray(-1.0))
        if isinstance(left, Activation):
            return sum_of(node, builder, node.activation(0), negative)
        return with_constant(node, builder, "add", negative, node.constant(0))
    return with_constant(
        node, builder, "add", node.activation(0), -as_f32(node.name, node.constant(1))
    )


def divide(node: Node, builder: Builder) -> Value:
    """a / b for a constant b, as a (1 / b)."""
    if node.is_constant():
        return _fold(node, _quotient)
    divisor = as_f32(node.name, node.constant(1)).astype(np.float64)
    if not divisor.all():
        raise InvalidNetwork(f"{node.name[:80]!r} divides by zero")
    return with_constant(node, builder, "mul", node.activation(0), 1.0 / divisor)


def relu(node: Node, builder: Builder) -> Value:
    """max(x, 0)."""
    return _map(node, builder, "relu")


def sigmoid(node: Node, builder: Builder) -> Value:
    """1 / (1 + exp(-x))."""
    return _map(node, builder, "sigmoid")


def tanh(node: Node, builder: Builder) -> Value:
    """tanh x."""
    return _map(node, builder, "tanh")


def clip(node: Node, builder: Builder) -> Value:
    """min(max(x, low), high); the limits are attributes up to opset 10, constants after."""
    x = node.activation(0)
    if node.opset < 11:
        low, high = node.number("min", -_TOP), node.number("max", _TOP)
    else:
        low, high = _limit(node, 1, -_TOP), _limit(node, 2, _TOP)
    if low > high:
        raise InvalidNetwork(f"{node.name[:80]!r} clips to {low}..{high}")
    return builder.step("clip", node.name, {"x": x.name}, x.tail, low=low, high=high)


def softmax(node: Node, builder: Builder) -> Value:
    """exp(x - max) / sum over the last axis.

    Up to opset 12 the axis begins a flattened rest (default 1); both readings agree on the last.
    """
    x = node.activation(0)
    rank = len(x.tail) + 1
    axis = node.integer("axis", 1 if node.opset < 13 else -1)
    if not x.tail or axis not in (-1, rank - 1):
        raise Unsupported(f"axis {axis} of rank {rank} is not the last of a row")
    return builder.step("softmax", node.name, {"x": x.name}, x.tail)


def identity(node: Node, builder: Builder) -> Value:
    """The input itself."""
    value = node.inputs[0] if node.inputs else None
    if value is None:
        raise Unsupported("input 0 is left out")
    return value


def dropout(node: Node, builder: Builder) -> Value:
    """The input itself: nothing is dropped when a network is served."""
    training = node.optional(2)
    if training is not None and training.any():
        raise Unsupported("training_mode is set")
    return identity(node, builder)


def cast(node: Node, builder: Builder) -> Value:
    """Another element type; between activations only towards float32."""
    target = _TYPES.get(node.integer("to", 0))
    if target is None:
        raise Unsupported(f"element type {node.attributes.get('to')} is not a number's")
    value = identity(node, builder)
    if not isinstance(value, Activation):
        with np.errstate(all="ignore"):
            return value.astype(target.numpy)
    if value.dtype is target:
        return value
    if target is not Dtype.F32:
        raise Unsupported(f"a cast of activations to {target}")
    return builder.step("cast", node.name, {"x": value.name}, value.tail, to=str(target))


def constant(node: Node, builder: Builder) -> Value:
    """The value in one of the attributes that a Constant may have."""
    for name, dtype in _CONSTANT_ATTRIBUTES.items():
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    raise Unsupported(f"a constant given as {', '.join(node.attributes) or 'nothing'}")


_CONSTANT_ATTRIBUTES = {
    "value": None,
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def sum_of(node: Node, builder: Builder, left: Activation, right: Activation) -> Activation:
    """Add two activations of one shape."""
    return _pair(node, builder, "add", left, right)


def with_constant(
    node: Node, builder: Builder, operator: str, x: Activation, values: Array
) -> Activation:
    """Add or multiply a constant that broadcasts along the rows of `x`.

    Args:
        node: names the steps.
        builder: takes them.
        operator: add or mul.
        x: float32.
        values: any numeric type; must not be larger than one row, nor differ between rows.
    """
    if values.ndim > len(x.tail) + 1:
        raise Unsupported(f"a constant of rank {values.ndim} would put axes before the batch")
    held = as_f32(node.name, values)
    held = held.reshape(_without_leading_ones(held.shape))
    if held.ndim > len(x.tail) or not _broadcasts(held.shape, x.tail):
        raise Unsupported(f"a constant of shape {values.shape} does not spread over {x.tail}")
    if held.shape in ((), x.tail[-1:]):
        inputs = {"a": x.name, "b": builder.weight(f"{node.name}.constant", held)}
        return builder.step(operator, node.name, inputs, x.tail)
    size = prod(x.tail)
    flat = builder.step("reshape", node.name, {"x": x.name}, (size,), shape=(0, size))
    row = np.broadcast_to(held, x.tail).reshape(size)
    inputs = {"a": flat.name, "b": builder.weight(f"{node.name}.constant", row)}
    y = builder.step(operator, node.name, inputs, (size,))
    return builder.step("reshape", node.name, {"x": y.name}, x.tail, shape=(0, *x.tail))


def _either(node: Node, builder: Builder, operator: str) -> Activation:
    """A commutative operator with one activation, or two of one shape."""
    left, right = node.pair()
    if not isinstance(left, Activation):
        return with_constant(node, builder, operator, node.activation(1), node.constant(0))
    if not isinstance(right, Activation):
        return with_constant(node, builder, operator, node.activation(0), node.constant(1))
    return _pair(node, builder, operator, node.activation(0), node.activation(1))


def _pair(
    node: Node, builder: Builder, operator: str, left: Activation, right: Activation
) -> Activation:
    if left.tail != right.tail:
        raise Unsupported(f"rows of {left.tail} and {right.tail} would have to be spread")
    return builder.step(operator, node.name, {"a": left.name, "b": right.name}, left.tail)


def _map(node: Node, builder: Builder, operator: str) -> Activation:
    x = node.activation(0)
    return builder.step(operator, node.name, {"x": x.name}, x.tail)


def _limit(node: Node, position: int, default: float) -> float:
    held = node.optional(position)
    if held is None:
        return default
    if held.size != 1:
        raise InvalidNetwork(f"{node.name[:80]!r} has a limit of shape {held.shape}")
    return float(np.clip(held.reshape(()), -_TOP, _TOP))


def _fold(node: Node, function: Callable[[Array, Array], Array]) -> Array:
    """Compute with constants, after looking at the size of the result."""
    left, right = node.constant(0), node.constant(1)
    try:
        size = prod(np.broadcast_shapes(left.shape, right.shape))
    except ValueError as error:
        raise InvalidNetwork(f"{node.name[:80]!r}: {error}") from None
    if size > MAX_ELEMENTS:
        most = f"over the limit of {MAX_ELEMENTS}"
        raise InvalidNetwork(f"{node.name[:80]!r} makes a constant of {size} elements, {most}")
    with np.errstate(all="ignore"):  # what is not finite is refused where it becomes a weight
        return function(left, right)


def _quotient(left: Array, right: Array) -> Array:
    """ONNX divides integers towards zero, and floats as usual."""
    if left.dtype.kind == "f":
        return np.asarray(np.divide(left, right))
    if not right.all():
        raise InvalidNetwork("a constant integer division by zero")
    return np.asarray(np.trunc(np.divide(left, right))).astype(left.dtype)


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _broadcasts(shape: tuple[int, ...], tail: tuple[int, ...]) -> bool:
    """Whether `shape` spreads over `tail` without growing it."""
    pairs = zip(reversed(shape), reversed(tail), strict=False)
    return all(size in (1, wanted) for size, wanted in pairs)
