"""What must hold between the parts of a tensor, per layout; every door from outside asks this."""

from collections.abc import Callable

import numpy as np

from shared.tensors import dtypes
from shared.tensors.dtypes import F32, I32, U32, Array, Dtype
from shared.tensors.layouts import PARTS, Layout, Tensor
from shared.tensors.packing import WORD_BITS

MAX_INDEX = 2**31 - 1  # indices are int32, on the host and on the device


def tensor(held: Tensor) -> Tensor:
    """Return `held` when its parts fit its layout, dtype and shape.

    Time is linear in the parts. Values are not judged: NaN is a value.

    Raises:
        ValueError: a part is missing or unknown, has another dtype or shape than the layout
            says, or an index is out of range.
    """
    if set(held.parts) != set(PARTS[held.layout]):
        given, needed = sorted(held.parts), sorted(PARTS[held.layout])
        raise ValueError(f"layout {held.layout} has the parts {needed}, got {given}")
    _CHECKS[held.layout](held)
    return held


def _dense(held: Tensor) -> None:
    values = held.parts["values"]
    _require_dtype("values", values, held.dtype)
    _require_shape("values", values, held.shape)
    if held.dtype is Dtype.BOOL and values.size and values.view(np.uint8).max() > 1:
        raise ValueError(f"bool bytes are 0 or 1, got {values.view(np.uint8).max()}")


def _csr(held: Tensor) -> None:
    rows, cols = _matrix(held)
    indptr, indices, values = (held.parts[part] for part in PARTS[Layout.CSR])
    _require_dtype("indptr", indptr, Dtype.I32)
    _require_dtype("indices", indices, Dtype.I32)
    _require_dtype("values", values, held.dtype)
    _require_shape("indptr", indptr, (rows + 1,))
    if indices.ndim != 1:
        raise ValueError(f"indices must have one dimension, got shape {indices.shape}")
    _require_shape("values", values, indices.shape)
    pointers(indptr.view(np.int32), indices.size)
    columns(indices.view(np.int32), cols)


def pointers(indptr: I32, nonzeros: int) -> None:
    """Check row pointers: start at 0, never decrease, end at the number of stored elements.

    Args:
        indptr: (rows + 1,) int32.
        nonzeros: stored elements.

    Raises:
        ValueError: naming the first row that breaks a rule.
    """
    if indptr[0] != 0 or indptr[-1] != nonzeros:
        raise ValueError(f"indptr must run from 0 to {nonzeros}, got {indptr[0]} to {indptr[-1]}")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        row = int(falls[0])
        raise ValueError(f"indptr decreases at row {row}: {indptr[row]} to {indptr[row + 1]}")


def columns(indices: I32, cols: int) -> None:
    """Check that column indices are in range; order is free, repeated ones add up (as in scipy).

    Args:
        indices: (nonzeros,) int32.
        cols: columns of the matrix.

    Raises:
        ValueError: naming the first index outside.
    """
    outside = np.flatnonzero((indices < 0) | (indices >= cols))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"indices[{at}] is {indices[at]}, the matrix has {cols} columns")


def _int8_channel(held: Tensor) -> None:
    rows, cols = _quantized(held, Dtype.I8)
    _require_shape("codes", held.parts["codes"], (rows, cols))
    _require_shape("scale", held.parts["scale"], (rows, 1))


def _int4_group(held: Tensor) -> None:
    rows, cols = _quantized(held, Dtype.U8)
    _require_shape("codes", held.parts["codes"], (rows, -(-cols // 2)))
    scale = held.parts["scale"]
    groups = scale.shape[1] if scale.ndim == 2 else 0
    if scale.shape != (rows, groups) or (cols and (not groups or cols % groups)):
        raise ValueError(f"scale must be ({rows}, groups that divide {cols}), got {scale.shape}")


def _quantized(held: Tensor, codes: Dtype) -> tuple[int, int]:
    scale = held.parts["scale"]
    _require_dtype("codes", held.parts["codes"], codes)
    _require_dtype("scale", scale, Dtype.F32)
    if held.dtype is not Dtype.F32:
        raise ValueError(f"elements of {held.layout} are f32, got {held.dtype}")
    factors: F32 = scale.view(np.float32)
    if factors.size and not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError(f"scales must be positive and finite, smallest is {factors.min()}")
    return _matrix(held)


def _spike_bits(held: Tensor) -> None:
    words = held.parts["words"]
    _require_dtype("words", words, Dtype.U32)
    if held.dtype not in {Dtype.F32, Dtype.BOOL}:
        raise ValueError(f"spikes are read as f32 or bool, got {held.dtype}")
    if not held.shape:
        raise ValueError("spike bits need at least one dimension, got shape ()")
    count = held.shape[-1]
    _require_shape("words", words, (*held.shape[:-1], -(-count // WORD_BITS)))
    used = count % WORD_BITS
    last: U32 = words.view(np.uint32)[..., -1:]
    if used and (last >> np.uint32(used)).any():
        raise ValueError(f"bits above neuron {count} of the last word must be zero")


def _matrix(held: Tensor) -> tuple[int, int]:
    if len(held.shape) != 2 or max(held.shape) > MAX_INDEX or min(held.shape) < 0:
        limit = f"two dimensions of 0..{MAX_INDEX}"
        raise ValueError(f"{held.layout} needs {limit}, got shape {held.shape}")
    return held.shape[0], held.shape[1]


def _require_dtype(part: str, array: Array, expected: Dtype) -> None:
    if array.dtype != expected.numpy:
        raise ValueError(f"{part} must be {expected}, got {dtypes.of(array)}")


def _require_shape(part: str, array: Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{part} must have shape {expected}, got {array.shape}")


_CHECKS: dict[Layout, Callable[[Tensor], None]] = {
    Layout.DENSE: _dense,
    Layout.CSR: _csr,
    Layout.INT8_CHANNEL: _int8_channel,
    Layout.INT4_GROUP: _int4_group,
    Layout.SPIKE_BITS: _spike_bits,
}
