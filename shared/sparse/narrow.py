"""Stored elements in fewer bytes: float16 or 8-bit codes for values, 16 bits for indices.

Codes follow the rules of quantization.affine, with one scale per line (or block) of stored
elements:

    scale = max(max |value| / 127, smallest normal float32)     in float32
    code  = round_half_even(value / scale)                      in float64, then clipped to ±127
    value = code × scale                                        in float32

So |value - read| <= scale / 2 up to the rounding of the last product. A value that becomes code 0
stays stored, and what is narrowed keeps its other parts, the same arrays.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared.sparse import compressed, sell
from shared.tensors import check
from shared.tensors.dtypes import F32, I8, I32, Array, Dtype
from shared.tensors.layouts import COMPACT, SLICE, SPARSE, Layout, Tensor

TOP = 127  # the range is symmetric, so -128 is never produced
_SMALLEST_SCALE = np.finfo(np.float32).smallest_normal
_HALF = float(np.finfo(np.float16).max)
_POINTERS = {Layout.CSR: "indptr", Layout.CSC: "indptr", Layout.BITMASK: "starts"}


def narrow(tensor: Tensor, dtype: Dtype) -> Tensor:
    """Store the values of a sparse tensor as `dtype`.

    Args:
        tensor: of a sparse layout, any value type; wide values are restored first.
        dtype: F16 (rounded to nearest, ties to even), I8, or F32, which is `widened`.

    Returns:
        The same layout over the same places; I8 brings a scale per line, or block.

    Raises:
        ValueError: a finite value is too large for f16, a value is not finite and cannot be a
            code, another dtype, no sparse layout, or parts that do not fit (see tensors.check).
    """
    _require_sparse(check.tensor(tensor))
    if dtype is tensor.dtype:
        return tensor
    wide = _without_padding(widened(tensor))
    match dtype:
        case Dtype.F32:
            return wide
        case Dtype.F16:
            return _with_values(wide, _halved(wide.parts["values"].view(np.float32)), dtype)
        case Dtype.I8:
            return _coded(wide)
    raise ValueError(f"values are stored as f32, f16 or i8, got {dtype}")


def widen(tensor: Tensor) -> F32:
    """The stored values as a reader sees them, code × scale where there are codes.

    Args:
        tensor: of a sparse layout, any value type; its parts are trusted.

    Returns:
        float32 of the shape of the part `values`; that part itself where it is float32.
    """
    _require_sparse(tensor)
    values: F32 = tensor.parts["values"].astype(np.float32, copy=False)
    if tensor.dtype is not Dtype.I8:
        return values
    return values * _spread(tensor, tensor.parts["scale"].view(np.float32)[:, 0])


def widened(tensor: Tensor) -> Tensor:
    """The same places with values as float32; a tensor that has such is returned as it is."""
    if tensor.dtype is Dtype.F32:
        return tensor
    return _with_values(tensor, widen(tensor), Dtype.F32)


def compact(tensor: Tensor) -> Tensor:
    """Store indices in 16 bits, where there are indices and their axis has at most 65536 places.

    Args:
        tensor: of any layout; what cannot be smaller is returned as it is.
    """
    if "indices" not in tensor.parts or _indexed(tensor) > COMPACT:
        return tensor
    indices = compressed.indices_of(tensor.parts["indices"]).astype(np.uint16, copy=False)
    return replace(tensor, parts={**tensor.parts, "indices": indices})


def _indexed(tensor: Tensor) -> int:
    """Places on the axis that indices number."""
    rows, cols = tensor.shape
    if tensor.layout is Layout.BLOCK:
        return -(-cols // int(tensor.parts["values"].shape[2]))
    return rows if tensor.layout is Layout.CSC else cols


def _halved(values: F32) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):  # judged below
        halves = values.astype(np.float16)
    lost = np.isinf(halves) & np.isfinite(values)
    if lost.any():
        value = values[lost][0]
        raise ValueError(f"value {value} is outside f16, whose limit is {_HALF}; use i8 or f32")
    return halves


def _coded(wide: Tensor) -> Tensor:
    values: F32 = wide.parts["values"].view(np.float32)
    if not np.isfinite(values).all():
        value = values[~np.isfinite(values)][0]
        raise ValueError(f"value {value} has no 8-bit code, which must be finite; use f16 or f32")
    scale: F32 = np.maximum(_largest(wide, np.abs(values)) / np.float32(TOP), _SMALLEST_SCALE)
    most = np.nextafter(np.finfo(np.float32).max / np.float32(TOP), np.float32(0))
    scale = np.minimum(scale, most)  # so that 127 × scale does not overflow
    steps = np.rint(values.astype(np.float64) / _spread(wide, scale))
    codes: I8 = np.clip(steps, -TOP, TOP).astype(np.int8)
    made = _with_values(wide, codes, Dtype.I8)
    return replace(made, parts={**made.parts, "scale": scale[:, np.newaxis]})


def _largest(tensor: Tensor, magnitudes: F32) -> F32:
    """(lines or blocks,) the largest magnitude of each, 0 where nothing is stored."""
    if tensor.layout is Layout.BLOCK:
        return np.asarray(magnitudes.max(axis=(1, 2), initial=0.0), dtype=np.float32)
    if tensor.layout is Layout.NM:
        return np.asarray(magnitudes.max(axis=1, initial=0.0), dtype=np.float32)
    if tensor.layout is Layout.SELL:
        starts, at = sell.slots(tensor)
        return _largest_between(starts, magnitudes[at])
    return _largest_between(_pointers(tensor), magnitudes)


def _largest_between(starts: I32, magnitudes: F32) -> F32:
    largest = np.zeros(starts.size - 1, dtype=np.float32)
    filled = starts[1:] > starts[:-1]
    # Lines without elements aside, each ends where the next begins, as reduceat wants it.
    if magnitudes.size:
        largest[filled] = np.maximum.reduceat(magnitudes, starts[:-1][filled])
    return largest


def _spread(tensor: Tensor, factors: F32) -> F32:
    """A factor per line or block, for every stored value; of a shape that broadcasts."""
    if tensor.layout is Layout.BLOCK:
        return factors[:, np.newaxis, np.newaxis]
    if tensor.layout is Layout.NM:
        return factors[:, np.newaxis]
    if tensor.layout is Layout.SELL:
        return _lanes(tensor, factors)
    return np.repeat(factors, np.diff(_pointers(tensor)))


def _lanes(tensor: Tensor, factors: F32) -> F32:
    """A factor per row, for every slot of the slices; 1 in lanes beyond the last row."""
    starts: I32 = tensor.parts["starts"].view(np.int32)
    widths = np.diff(starts) // SLICE
    lanes = np.ones(widths.size * SLICE, dtype=np.float32)
    lanes[: factors.size] = factors[tensor.parts["order"].view(np.int32)]
    return np.repeat(lanes.reshape(-1, SLICE), widths, axis=0).reshape(-1)


def _without_padding(tensor: Tensor) -> Tensor:
    """The same tensor, padding of SELL set to zero: nobody checks what a foreign one holds."""
    if tensor.layout is not Layout.SELL:
        return tensor
    values: F32 = tensor.parts["values"].view(np.float32)
    _, at = sell.slots(tensor)
    clean = np.zeros_like(values)
    clean[at] = values[at]
    return _with_values(tensor, clean, tensor.dtype)


def _pointers(tensor: Tensor) -> I32:
    return tensor.parts[_POINTERS[tensor.layout]].view(np.int32)


def _with_values(tensor: Tensor, values: Array, dtype: Dtype) -> Tensor:
    parts = {name: part for name, part in tensor.parts.items() if name != "scale"}
    return replace(tensor, dtype=dtype, parts={**parts, "values": values})


def _require_sparse(tensor: Tensor) -> None:
    if tensor.layout not in SPARSE:
        raise ValueError(f"a {tensor.layout} tensor has no stored values; pack it first")
