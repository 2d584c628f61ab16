"""Rules that checks of several layouts share: element types, shapes, indices, scales."""

import numpy as np

from shared.tensors import dtypes
from shared.tensors.dtypes import F32, I32, Array, Dtype
from shared.tensors.layouts import COMPACT, Tensor

MAX_INDEX = 2**31 - 1  # indices are int32, on the host and on the device


def matrix(held: Tensor) -> tuple[int, int]:
    """Rows and columns of a layout that stores matrices.

    Raises:
        ValueError: another number of dimensions, or one that int32 cannot number.
    """
    if len(held.shape) != 2 or max(held.shape) > MAX_INDEX or min(held.shape) < 0:
        limit = f"two dimensions of 0..{MAX_INDEX}"
        raise ValueError(f"{held.layout} needs {limit}, got shape {held.shape}")
    return held.shape[0], held.shape[1]


def require_dtype(part: str, array: Array, expected: Dtype) -> None:
    """Raises ValueError when a part has not the element type that its layout says."""
    if array.dtype != expected.numpy:
        raise ValueError(f"{part} must be {expected}, got {dtypes.of(array)}")


def require_shape(part: str, array: Array, expected: tuple[int, ...]) -> None:
    """Raises ValueError when a part has not the shape that its tensor leaves it."""
    if array.shape != expected:
        raise ValueError(f"{part} must have shape {expected}, got {array.shape}")


def pointers(name: str, held: I32, stored: int, noun: str = "row") -> None:
    """Check where lines start: at 0, never falling, ending at the number of stored elements.

    Args:
        name: of the part, for the message.
        held: (lines + 1,) int32.
        stored: elements (or blocks) of all lines.
        noun: what a line is, for the message.

    Raises:
        ValueError: naming the first line that breaks a rule.
    """
    if held[0] != 0 or held[-1] != stored:
        raise ValueError(f"{name} must run from 0 to {stored}, got {held[0]} to {held[-1]}")
    falls = np.flatnonzero(held[1:] < held[:-1])
    if falls.size:
        line = int(falls[0])
        raise ValueError(f"{name} decreases at {noun} {line}: {held[line]} to {held[line + 1]}")


def places(indices: Array, limit: int, noun: str) -> None:
    """Check indices of one axis: element type and range; order is free, repeated ones add up.

    Args:
        indices: (stored,) i32, or u16 when `limit` is at most COMPACT.
        limit: places on the axis.
        noun: what the places are, for the message.

    Raises:
        ValueError: naming the first index outside, or the element type.
    """
    if indices.ndim != 1:
        raise ValueError(f"indices must have one dimension, got shape {indices.shape}")
    if _is_compact(indices) and limit > COMPACT:
        raise ValueError(f"u16 indices number at most {COMPACT} {noun}, the matrix has {limit}")
    if not _is_compact(indices) and indices.dtype != Dtype.I32.numpy:
        raise ValueError(f"indices must be i32 or u16, got {dtypes.of(indices)}")
    numbers: I32 = (
        indices.view(np.uint16).astype(np.int32) if _is_compact(indices) else indices.view(np.int32)
    )
    outside = np.flatnonzero((numbers < 0) | (numbers >= limit))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"indices[{at}] is {numbers[at]}, the matrix has {limit} {noun}")


def _is_compact(indices: Array) -> bool:
    return bool(indices.dtype == Dtype.U16.numpy)


def scales(scale: Array) -> None:
    """Check factors of codes.

    Raises:
        ValueError: not float32, or one that is zero, negative, infinite or not a number.
    """
    require_dtype("scale", scale, Dtype.F32)
    factors: F32 = scale.view(np.float32)
    if factors.size and not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError(f"scales must be positive and finite, smallest is {factors.min()}")
