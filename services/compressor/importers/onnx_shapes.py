"""Shapes: every row keeps its elements, the batch stays in front; constants change at once."""

from math import prod

import numpy as np

from services.compressor.importers.builder import Activation, Builder, Unsupported
from services.compressor.importers.onnx_node import Node, Value
from shared.contracts.errors import InvalidNetwork
from shared.tensors.dtypes import Array


def flatten(node: Node, builder: Builder) -> Value:
    """All dimensions of a row in one."""
    axis = node.integer("axis", 1)
    if node.is_constant():
        held = node.constant(0)
        axis = axis + held.ndim if axis < 0 else axis
        return held.reshape(prod(held.shape[:axis]), prod(held.shape[axis:]))
    x = node.activation(0)
    if (axis + len(x.tail) + 1 if axis < 0 else axis) != 1:
        raise Unsupported(f"axis {axis} would mix the rows of a batch")
    return _reshaped(node, builder, x, (prod(x.tail),))


def reshape(node: Node, builder: Builder) -> Value:
    """Another shape for each row; the target is a constant whose first place is the batch."""
    target = sizes(node, 1)
    zero_is_size = bool(node.integer("allowzero", 0))
    if node.is_constant():
        held = node.constant(0)
        return _reshape_constant(node, held, _resolve(node, target, held.shape, zero_is_size))
    x = node.activation(0)
    if not target or (target[0] not in (-1, 0) and target[0] != builder.batch):
        raise Unsupported(f"shape {target} does not keep the batch in front")
    if zero_is_size and 0 in target:
        raise Unsupported(f"shape {target} with allowzero would hold nothing")
    tail = _resolve(node, target[1:], x.tail, zero_is_size)
    if -1 in tail and target[0] == -1:
        raise InvalidNetwork(f"{node.name[:80]!r} has two open sizes: {target}")
    if -1 in tail:
        known = -prod(tail)
        tail = tuple(prod(x.tail) // known if size == -1 and known else size for size in tail)
    if prod(tail) != prod(x.tail):
        raise Unsupported(f"shape {target} would mix the rows of a batch, which hold {x.tail}")
    return _reshaped(node, builder, x, tail)


def transpose(node: Node, builder: Builder) -> Value:
    """Another order of dimensions; the batch stays where it is."""
    perm = node.integers("perm")
    if node.is_constant():
        held = node.constant(0)
        _check_perm(node, perm, held.ndim)
        return np.ascontiguousarray(held.transpose(perm))
    x = node.activation(0)
    rank = len(x.tail) + 1
    perm = tuple(reversed(range(rank))) if perm is None else perm
    _check_perm(node, perm, rank)
    if perm[0] != 0:
        raise Unsupported(f"perm {perm} moves the batch")
    if perm == tuple(range(rank)):
        return x
    tail = tuple(x.tail[place - 1] for place in perm[1:])
    return builder.step("transpose", node.name, {"x": x.name}, tail, perm=perm)


def squeeze(node: Node, builder: Builder) -> Value:
    """Drop dimensions of size 1."""
    rank, shape = _rank_and_shape(node)
    axes = _axes(node)
    if axes is None:
        if not node.is_constant():
            raise Unsupported("axes are left out, so a batch of 1 would be dropped too")
        axes = tuple(place for place, size in enumerate(shape) if size == 1)
    places = chosen(node, axes, rank)
    if any(shape[place] != 1 for place in places if place or node.is_constant()):
        raise InvalidNetwork(f"{node.name[:80]!r} squeezes {axes} out of {shape}")
    kept = [size for place, size in enumerate(shape) if place not in places]
    return _with_axes(node, builder, kept, 0 in places)


def unsqueeze(node: Node, builder: Builder) -> Value:
    """Insert dimensions of size 1."""
    rank, shape = _rank_and_shape(node)
    axes = _axes(node)
    if axes is None:
        raise InvalidNetwork(f"{node.name[:80]!r} has no axes")
    places = chosen(node, axes, rank + len(axes))
    rest = iter(shape)
    grown = [1 if place in places else next(rest) for place in range(rank + len(axes))]
    return _with_axes(node, builder, grown, 0 in places)


def _with_axes(node: Node, builder: Builder, shape: list[int], batch_moved: bool) -> Value:
    if node.is_constant():
        return _reshape_constant(node, node.constant(0), tuple(shape))
    if batch_moved:
        raise Unsupported("the batch dimension would move")
    return _reshaped(node, builder, node.activation(0), tuple(shape[1:]))


def _reshaped(node: Node, builder: Builder, x: Activation, tail: tuple[int, ...]) -> Activation:
    if tail == x.tail:
        return x
    return builder.step("reshape", node.name, {"x": x.name}, tail, shape=(0, *tail))


def _reshape_constant(node: Node, held: Array, shape: tuple[int, ...]) -> Array:
    try:
        return held.reshape(shape)
    except ValueError as error:
        raise InvalidNetwork(f"{node.name[:80]!r}: {error}") from None


def _resolve(
    node: Node, target: tuple[int, ...], shape: tuple[int, ...], zero_is_size: bool
) -> tuple[int, ...]:
    """The target with each 0 replaced by the size at its place."""
    if any(size < -1 for size in target) or target.count(-1) > 1:
        raise InvalidNetwork(f"{node.name[:80]!r} has the shape {target}")
    if zero_is_size:
        return target
    if any(size == 0 and place >= len(shape) for place, size in enumerate(target)):
        raise InvalidNetwork(f"{node.name[:80]!r} copies a size that {shape} has not: {target}")
    return tuple(shape[place] if size == 0 else size for place, size in enumerate(target))


def sizes(node: Node, position: int) -> tuple[int, ...]:
    """A constant input that lists sizes or axes."""
    held = node.constant(position)
    if held.ndim != 1 or held.dtype.kind not in "iu" or held.size > 8:
        raise Unsupported(f"input {position} is no list of up to 8 sizes")
    return tuple(int(size) for size in held)


def _axes(node: Node) -> tuple[int, ...] | None:
    """Axes are an attribute up to opset 12, an input after."""
    if node.opset < 13:
        return node.integers("axes")
    return sizes(node, 1) if node.has(1) else None


def chosen(node: Node, axes: tuple[int, ...], rank: int) -> frozenset[int]:
    """The axes counted from the front; each one once, and within the rank."""
    found = frozenset(axis + rank if axis < 0 else axis for axis in axes)
    if len(found) != len(axes) or any(not 0 <= place < rank for place in found):
        raise InvalidNetwork(f"{node.name[:80]!r} has axes {axes} for rank {rank}")
    return found


def _rank_and_shape(node: Node) -> tuple[int, tuple[int, ...]]:
    """Of input 0; the batch counts as 1, its size never matters."""
    if node.is_constant():
        held = node.constant(0)
        return held.ndim, held.shape
    x = node.activation(0)
    return len(x.tail) + 1, (1, *x.tail)


def _check_perm(node: Node, perm: tuple[int, ...] | None, rank: int) -> None:
    if perm is not None and sorted(perm) != list(range(rank)):
        raise InvalidNetwork(f"{node.name[:80]!r} has perm {perm} for rank {rank}")
