"""Weights to integers and back: round to nearest, one scale per group of a row, per row, or one.

Rules, exactly, for every backend to agree on. Symmetric:

    scale = max(max |w| / top, smallest normal float32)     in float32, over the group
    step  = round_half_even(w / scale)                      in float64, then clipped to ±top

Asymmetric, with low = min(w, 0) and high = max(w, 0) over the group:

    scale = max((high - low) / (2**bits - 1), smallest normal float32)      in float64, then float32
    zero  = round_half_even(-low / scale)                   in float64, clipped to 0..2**bits - 1
    step  = round_half_even(w / scale)                      clipped to -zero..2**bits - 1 - zero

Both: value = step × scale in float32, and a layout without signs stores code = step + zero, where
the zero of symmetric codes is 2**(bits - 1). So |w - value| <= scale / 2 up to the rounding of the
last product, a group of zeros has steps 0, and a scale is never zero or subnormal: a card that
flushes subnormals would read it as zero. Nor is it so large that a value overflows: it stays one
unit in the last place below max float32 / steps to one side.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", eq. 1; symmetric with the zero point fixed.
"""

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from shared.quantization.scheme import Scheme
from shared.tensors import packing
from shared.tensors.dtypes import F32, I8, U8, Array, Dtype
from shared.tensors.layouts import Layout, Tensor

I16 = npt.NDArray[np.int16]
F64 = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)
_SMALLEST_SCALE = np.finfo(np.float32).smallest_normal
_LARGEST = np.finfo(np.float32).max


class Grid(NamedTuple):
    """Where the values of codes lie: the size of a step, and the code of zero."""

    scale: F32  # (rows, groups), positive and normal; (1, 1) for a whole tensor
    zero: U8 | None = None  # of the same shape; None for symmetric codes

    def bounds(self, scheme: Scheme) -> tuple[F64, F64]:
        """The smallest and the largest step of every group, in the shape of the scale."""
        if self.zero is None:
            top = np.full(self.scale.shape, float(scheme.top))
            return -top, top
        low = -self.zero.astype(np.float64)
        return low, low + scheme.steps


def grid(weight: F32, scheme: Scheme) -> Grid:
    """Where codes lie so that nothing is clipped.

    Args:
        weight: (rows, cols) float32, finite.
        scheme: bits and grouping.

    Raises:
        ValueError: not two dimensions, not finite, or groups that do not divide a row.
    """
    _require_weight(weight)
    rows, cols = weight.shape
    groups = max(cols // scheme.columns_per_scale(cols), 1)
    grouped = weight.reshape(rows, groups, cols // groups)
    if scheme.per_tensor:
        grouped = weight.reshape(1, 1, -1)
    low = np.minimum(grouped.min(axis=-1, initial=0.0), np.float32(0.0))
    high = np.maximum(grouped.max(axis=-1, initial=0.0), np.float32(0.0))
    return _symmetric(low, high, scheme) if scheme.symmetric else _asymmetric(low, high, scheme)


def quantize(weight: F32, scheme: Scheme) -> Tensor:
    """Round a weight matrix to the integers of a scheme.

    Args:
        weight: (rows, cols) float32, finite.
        scheme: decides the layout.

    Returns:
        A tensor of the layout of the scheme, element type f32, shape (rows, cols).

    Raises:
        ValueError: as `grid`.
    """
    return with_grid(weight, grid(weight, scheme), scheme)


def with_grid(weight: F32, given: Grid, scheme: Scheme) -> Tensor:
    """Round a weight matrix to given values of codes.

    Args:
        weight: (rows, cols) float32, finite.
        given: shaped as `grid` makes it.
        scheme: bits and layout.
    """
    quotients = weight.astype(np.float64) / spread(given.scale, weight.shape)
    low, high = (spread(bound, weight.shape) for bound in given.bounds(scheme))
    return with_steps(np.clip(np.rint(quotients), low, high).astype(np.int16), given, scheme)


def with_steps(integers: I16, given: Grid, scheme: Scheme) -> Tensor:
    """A quantized tensor of given integers, for solvers that round in their own way.

    Args:
        integers: (rows, cols) int16: code - zero.
        given: shaped as `grid` makes it.
        scheme: bits and layout.

    Raises:
        ValueError: a step has no code in the layout.
    """
    match scheme.layout:
        case Layout.INT8_CHANNEL:
            parts: dict[str, Array] = {"codes": integers.astype(np.int8), "scale": given.scale}
        case Layout.INT4_GROUP:
            parts = {"codes": packing.join_nibbles(integers.astype(np.int8)), "scale": given.scale}
        case _:
            zero = given.zero
            if zero is None:
                zero = np.full((1, 1), 1 << (scheme.bits - 1), np.uint8)
            plain = (integers + spread(zero, integers.shape)).astype(np.uint8)
            held = packing.join_bits(plain, scheme.bits)
            bits = np.array([scheme.bits], np.uint8)
            parts = {"bits": bits, "codes": held, "scale": given.scale, "zero": zero}
    return Tensor(scheme.layout, Dtype.F32, integers.shape, parts)


def codes(tensor: Tensor) -> I8:
    """The integers of a quantized tensor whose codes have a sign, one per element.

    Returns:
        (rows, cols) int8.

    Raises:
        ValueError: the layout holds no such codes.
    """
    match tensor.layout:
        case Layout.INT8_CHANNEL:
            return tensor.parts["codes"].view(np.int8)
        case Layout.INT4_GROUP:
            return packing.split_nibbles(tensor.parts["codes"].view(np.uint8), tensor.shape[1])
    raise ValueError(f"a {tensor.layout} tensor holds no integer codes")


def unsigned(tensor: Tensor) -> U8:
    """The codes of an INT_GROUP tensor, one per element; (rows, cols) uint8."""
    stream, bits = tensor.parts["codes"].view(np.uint8), int(tensor.parts["bits"][0])
    return packing.split_bits(stream, tensor.shape[1], bits)


def steps(tensor: Tensor) -> I8 | I16:
    """How many steps every value lies from zero: its code, less what stands for zero.

    Returns:
        (rows, cols) int8, or int16 for INT_GROUP.

    Raises:
        ValueError: the layout holds no integer codes.
    """
    if tensor.layout is not Layout.INT_GROUP:
        return codes(tensor)
    zero: U8 = tensor.parts["zero"].view(np.uint8)
    return unsigned(tensor).astype(np.int16) - spread(zero, tensor.shape)


def dequantize(tensor: Tensor) -> F32:
    """The values that a quantized tensor stands for.

    Returns:
        (rows, cols) float32, step × scale.

    Raises:
        ValueError: the layout holds no integer codes.
    """
    return steps(tensor).astype(np.float32) * sizes(tensor)


def sizes(tensor: Tensor) -> F32:
    """The size of one integer step for every element; (rows, cols) float32."""
    scale: F32 = tensor.parts["scale"].view(np.float32)
    return spread(scale, tensor.shape)


def spread(numbers: npt.NDArray[T], shape: tuple[int, ...]) -> npt.NDArray[T]:
    """Numbers per group, (rows or 1, groups), repeated for every element of (rows, cols)."""
    wide = np.repeat(numbers, shape[1] // max(numbers.shape[1], 1), axis=1)
    return np.broadcast_to(wide, shape)


def _symmetric(low: F32, high: F32, scheme: Scheme) -> Grid:
    largest = np.maximum(-low, high)
    most = np.nextafter(_LARGEST / np.float32(scheme.top), np.float32(0.0))
    return Grid(np.clip(largest / np.float32(scheme.top), _SMALLEST_SCALE, most))


def _asymmetric(low: F32, high: F32, scheme: Scheme) -> Grid:
    apart = (high.astype(np.float64) - low) / scheme.steps
    scale: F32 = np.maximum(apart, _SMALLEST_SCALE).astype(np.float32)
    zero = np.clip(np.rint(-low / scale.astype(np.float64)), 0, scheme.steps).astype(np.uint8)
    side = np.maximum(zero, scheme.steps - zero).astype(np.float32)
    most: F32 = np.nextafter(_LARGEST / side, np.float32(0.0))
    return Grid(np.minimum(scale, most), zero)


def _require_weight(weight: F32) -> None:
    if weight.ndim != 2:
        raise ValueError(f"a weight has two dimensions, got shape {weight.shape}")
    bad = np.argwhere(~np.isfinite(weight))
    if bad.size:
        row, col = bad[0]
        raise ValueError(f"a weight must be finite, [{row}, {col}] is {weight[row, col]}")
