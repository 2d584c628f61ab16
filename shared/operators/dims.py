"""Questions that every family asks of the types of a call: sizes, agreement, bytes."""

from collections.abc import Iterable
from math import prod
from typing import cast

from shared.operators.spec import Types
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType
from shared.tensors.packing import WORD_BITS

MAX_RANK = 8  # kernels take strides as fixed arrays
_LEAST_RANK = {Layout.DENSE: 0, Layout.SPIKE_BITS: 1}  # the others are matrices


def sizes(kind: TensorType) -> tuple[int, ...]:
    """The shape of a type whose batch is set.

    Raises:
        ValueError: a dimension is open.
    """
    if None in kind.shape:
        raise ValueError(f"shape {kind.shape} has an open dimension; use with_batch first")
    return cast("tuple[int, ...]", kind.shape)  # asked for each call, so not copied


def matrix(inputs: Types, port: str) -> tuple[int, int]:
    """Rows and columns of an input.

    Raises:
        ValueError: it has not two dimensions.
    """
    shape = sizes(inputs[port])
    if len(shape) != 2:
        raise ValueError(f"{port} must have two dimensions, got shape {shape}")
    return shape[0], shape[1]


def require(inputs: Types, port: str, shape: tuple[int, ...], why: str) -> None:
    """Hold an input against the shape that the others leave it; an absent one fits.

    Raises:
        ValueError: naming both shapes and `why` that one is needed.
    """
    if port in inputs and sizes(inputs[port]) != shape:
        raise ValueError(f"{port} must have shape {shape} {why}, got {sizes(inputs[port])}")


def f32(*shape: int) -> TensorType:
    """The type of a dense float32 tensor."""
    return TensorType(Layout.DENSE, Dtype.F32, shape)


def elements(kind: TensorType) -> int:
    """Elements that a reader sees."""
    return prod(sizes(kind))


def nbytes(kind: TensorType) -> int:
    """Bytes of all parts of a tensor.

    Raises:
        ValueError: the layout's bytes do not follow from its type.
    """
    shape = sizes(kind)
    least = _LEAST_RANK.get(kind.layout, 2)
    if len(shape) < least:
        raise ValueError(f"{kind.layout} needs {least} dimensions or more, got shape {shape}")
    if kind.stored_bytes is not None:
        return kind.stored_bytes
    match kind.layout:
        case Layout.DENSE:
            return prod(shape) * kind.dtype.itemsize
        case Layout.CSR:  # as if it had wide indices: what is not known is not counted short
            return 4 * (shape[0] + 1) + (kind.nonzeros or 0) * (4 + kind.dtype.itemsize)
        case Layout.INT8_CHANNEL:
            return prod(shape) + 4 * shape[0]
        case Layout.SPIKE_BITS:
            return 4 * prod(shape[:-1]) * -(-shape[-1] // WORD_BITS)
    raise ValueError(f"the bytes of {kind.layout} do not follow from its shape; give them")


def traffic(inputs: Iterable[TensorType], outputs: Iterable[TensorType]) -> float:
    """Compulsory bytes: every input read once, every output written once."""
    return float(sum(map(nbytes, inputs)) + sum(map(nbytes, outputs)))
