"""Weights to integers and back: round to nearest, symmetric, one scale per group of a row.

Rules, exactly, for every backend to agree on:

    scale = max(max |w| / top, smallest normal float32)     in float32, over the group
    code  = round_half_even(w / scale)                      in float64, then clipped to ±top
    value = code × scale                                    in float32

So |w - value| <= scale / 2 up to the rounding of the last product, a group of zeros has codes 0,
and a scale is never zero or subnormal: a card that flushes subnormals would read it as zero. Nor is
it so large that top × scale overflows: it stays one unit in the last place below max float32 / top.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", eq. 1, with the zero point fixed at 0.
"""

import numpy as np

from shared.quantization.scheme import Scheme
from shared.tensors import packing
from shared.tensors.dtypes import F32, I8, Dtype
from shared.tensors.layouts import Layout, Tensor

_SMALLEST_SCALE = np.finfo(np.float32).smallest_normal
_LARGEST = np.finfo(np.float32).max


def scales(weight: F32, scheme: Scheme) -> F32:
    """The size of one integer step for every group.

    Args:
        weight: (rows, cols) float32, finite.
        scheme: bits and grouping.

    Returns:
        (rows, groups) float32, positive and normal.

    Raises:
        ValueError: not two dimensions, not finite, or groups that do not divide a row.
    """
    _require_weight(weight)
    rows, cols = weight.shape
    groups = max(cols // scheme.columns_per_scale(cols), 1)
    grouped = np.abs(weight).reshape(rows, groups, cols // groups)
    largest: F32 = grouped.max(axis=-1, initial=0.0)
    most = np.nextafter(_LARGEST / np.float32(scheme.top), np.float32(0.0))
    scale: F32 = np.clip(largest / np.float32(scheme.top), _SMALLEST_SCALE, most)
    return scale


def quantize(weight: F32, scheme: Scheme) -> Tensor:
    """Round a weight matrix to the integers of a scheme.

    Args:
        weight: (rows, cols) float32, finite.
        scheme: decides the layout: INT8_PER_CHANNEL or int4_per_group(...).

    Returns:
        A tensor of the layout of the scheme, element type f32, shape (rows, cols).

    Raises:
        ValueError: as `scales`.
    """
    return with_scale(weight, scales(weight, scheme), scheme)


def with_scale(weight: F32, scale: F32, scheme: Scheme) -> Tensor:
    """Round a weight matrix with given scales.

    Args:
        weight: (rows, cols) float32, finite.
        scale: (rows, groups) float32, positive and normal, as `scales` shapes them.
        scheme: bits and layout.
    """
    steps = weight.astype(np.float64) / _spread(scale, weight.shape[1])
    rounded = np.clip(np.rint(steps), -scheme.top, scheme.top).astype(np.int8)
    return with_codes(rounded, scale, scheme.layout)


def with_codes(integers: I8, scale: F32, layout: Layout) -> Tensor:
    """A quantized tensor of given integers, for solvers that round in their own way.

    Args:
        integers: (rows, cols) int8, inside the range of the layout.
        scale: (rows, groups) float32.

    Raises:
        ValueError: an integer does not fit the layout.
    """
    held = packing.join_nibbles(integers) if layout is Layout.INT4_GROUP else integers
    rows, cols = integers.shape
    return Tensor(layout, Dtype.F32, (rows, cols), {"codes": held, "scale": scale})


def codes(tensor: Tensor) -> I8:
    """The integers of a quantized tensor, one per element.

    Returns:
        (rows, cols) int8.

    Raises:
        ValueError: the layout holds no integer codes.
    """
    match tensor.layout:
        case Layout.INT8_CHANNEL:
            return tensor.parts["codes"].view(np.int8)
        case Layout.INT4_GROUP:
            return packing.split_nibbles(tensor.parts["codes"].view(np.uint8), tensor.shape[1])
    raise ValueError(f"a {tensor.layout} tensor holds no integer codes")


def dequantize(tensor: Tensor) -> F32:
    """The values that a quantized tensor stands for.

    Returns:
        (rows, cols) float32, code × scale.

    Raises:
        ValueError: the layout holds no integer codes.
    """
    return codes(tensor).astype(np.float32) * sizes(tensor)


def sizes(tensor: Tensor) -> F32:
    """The size of one integer step for every element; (rows, cols) float32."""
    return _spread(tensor.parts["scale"].view(np.float32), tensor.shape[1])


def _spread(scale: F32, cols: int) -> F32:
    """Repeat (rows, groups) scales to (rows, cols)."""
    return np.repeat(scale, cols // max(scale.shape[1], 1), axis=1)


def _require_weight(weight: F32) -> None:
    if weight.ndim != 2:
        raise ValueError(f"a weight has two dimensions, got shape {weight.shape}")
    bad = np.argwhere(~np.isfinite(weight))
    if bad.size:
        row, col = bad[0]
        raise ValueError(f"a weight must be finite, [{row}, {col}] is {weight[row, col]}")
