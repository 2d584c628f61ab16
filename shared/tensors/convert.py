"""Element types into one another, with one rule per kind of target.

    to bool      an element that is not zero is true; NaN is not zero
    to integers  fractions are cut towards zero, values outside the range saturate, NaN becomes 0
    to floats    rounded to nearest, ties to even; too large becomes infinite; NaN stays NaN

These are the rules of OpenCL's convert_<type>_sat, so a kernel can keep them. BF16 is read by
shifting it into a float32, and made from a float32 (a wider number is rounded twice).
"""

import numpy as np

from shared.tensors.dtypes import F32, Array, Dtype

_FLOATS = {Dtype.F16, Dtype.F32, Dtype.F64}


def cast(array: Array, source: Dtype, target: Dtype) -> Array:
    """Convert every element.

    Args:
        array: any shape, of the storage type of `source`.
        source: what the elements are (numpy cannot tell BF16 from u16).
        target: what they become.

    Returns:
        The same shape, of the storage type of `target`; a copy even when nothing changes.
    """
    if source is target:
        return array.copy()
    if source is Dtype.BF16:
        return cast(_widened(array), Dtype.F32, target)
    with np.errstate(over="ignore", invalid="ignore"):
        return _converted(array, source, target)


def _converted(array: Array, source: Dtype, target: Dtype) -> Array:
    if target is Dtype.BOOL:
        return np.asarray(array != 0)
    if target is Dtype.BF16:
        return _narrowed(np.asarray(array, dtype=np.float32))
    if target in _FLOATS or source is Dtype.BOOL:
        return array.astype(target.numpy)
    return _saturated(array, target)


def _saturated(array: Array, target: Dtype) -> Array:
    """Numbers to integers of a range that they may not fit."""
    info = np.iinfo(str(target.numpy))
    if array.dtype.kind in "iu":
        held = np.iinfo(str(array.dtype))
        low, high = max(info.min, held.min), min(info.max, held.max)
        return np.asarray(np.clip(array, low, high)).astype(target.numpy)
    # As a float64 the largest 64-bit integer rounds up to a power of two, hence >= and not >.
    wide = np.trunc(array.astype(np.float64))
    below, above = wide <= float(info.min), wide >= float(info.max)
    inside = np.where(below | above | np.isnan(wide), 0.0, wide).astype(target.numpy)
    return np.where(above, info.max, np.where(below, info.min, inside)).astype(target.numpy)


def _widened(array: Array) -> F32:
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _narrowed(array: F32) -> Array:
    bits = np.ascontiguousarray(array).view(np.uint32).reshape(array.shape)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)  # rounding a NaN could make it infinite
    return np.where(np.isnan(array), quiet, rounded).astype("<u2")
