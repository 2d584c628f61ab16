"""Weights of few bits as other tools write them: DequantizeLinear of constants.

They become the float32 values that they stand for, to be rounded here again if that is wanted.
Values that are rounded while the network runs have no counterpart.
"""

import numpy as np

from services.compressor.importers.builder import Builder, Unsupported, as_f32
from services.compressor.importers.onnx_node import Node, Value
from shared.contracts.errors import InvalidNetwork
from shared.tensors.dtypes import F32


def dequantize(node: Node, builder: Builder) -> Value:
    """(codes - zero) scale in float32; scale and zero per tensor, per slice of an axis, or block.

    Raises:
        Unsupported: the codes depend on the network's input.
        InvalidNetwork: scale or zero does not fit the codes.
    """
    if not node.is_constant():
        raise Unsupported("activations are rounded; only weights may be: export them alone so")
    codes, scale = node.constant(0), as_f32(node.name, node.constant(1))
    zero = node.optional(2)
    offset = np.zeros_like(scale) if zero is None else as_f32(node.name, zero)
    if offset.shape != scale.shape:
        raise InvalidNetwork(
            f"{node.name[:80]!r} has scales {scale.shape} and zeros {offset.shape}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused as a weight
        values: F32 = codes.astype(np.float32) - _spread(node, offset, codes.shape)
        return np.asarray(values * _spread(node, scale, codes.shape))


def _spread(node: Node, numbers: F32, shape: tuple[int, ...]) -> F32:
    """Numbers of a tensor, a slice or a block, in a shape that fits the codes."""
    if numbers.size == 1:
        return numbers.reshape(())
    axis, block = node.integer("axis", 1), node.integer("block_size", 0)
    if not -len(shape) <= axis < len(shape) or block < 0:
        raise InvalidNetwork(f"{node.name[:80]!r}: axis {axis}, blocks of {block}, codes {shape}")
    axis %= len(shape)
    if not block and numbers.shape == (shape[axis],):
        return numbers.reshape([-1 if place == axis else 1 for place in range(len(shape))])
    blocks = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape)) if block else ()
    if numbers.shape != blocks:
        raise InvalidNetwork(
            f"{node.name[:80]!r} has scales {numbers.shape} for codes {shape} "
            f"on axis {axis}, blocks of {block}"
        )
    places = np.arange(shape[axis]) // block
    spread: F32 = np.take(numbers, places, axis=axis)
    return spread
