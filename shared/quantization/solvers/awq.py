"""AWQ: scale up the columns that large inputs meet before rounding, and scale their inputs down.

Source: Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression", eq. 4 and
5: scales s = m^a of the mean absolute input m, a searched between 0 and 1.
"""

from typing import NamedTuple

import numpy as np

from shared.quantization import affine
from shared.quantization.observers import F64
from shared.quantization.scheme import Scheme
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

GRID = 20  # exponents tried
_SMALLEST = 1e-4


class Scaled(NamedTuple):
    """A quantized weight whose input must be divided by `scales` (cols,) float32 first."""

    weight: Tensor
    scales: F32
    exponent: float


def search(weight: F32, gram: F64, rows: int, scheme: Scheme) -> Scaled:
    """The exponent of least error on the observed inputs; 0 is rounding to nearest.

    Args:
        weight: (rows, cols) float32, finite.
        gram: (cols, cols) float64: sum of xᵀ x over calibration rows.
        rows: how many calibration rows.
        scheme: decides layout and scales.

    Raises:
        ValueError: as `affine.grid`, or the Gram matrix has another shape or is not finite.
    """
    cols = weight.shape[1]
    if gram.shape != (cols, cols) or not np.isfinite(gram).all():
        raise ValueError(f"a Gram matrix for {weight.shape} is finite and {(cols, cols)}")
    power = np.sqrt(np.diag(gram) / max(rows, 1))  # root mean square stands for the mean of |x|
    found = [_tried(weight, gram, power, step / GRID, scheme) for step in range(GRID)]
    return min(found, key=lambda entry: entry[0])[1]


def _tried(
    weight: F32, gram: F64, power: F64, exponent: float, scheme: Scheme
) -> tuple[float, Scaled]:
    scales = np.maximum(power, _SMALLEST) ** exponent
    scales = (scales / np.sqrt(scales.max(initial=1e-30) * scales.min(initial=1e30))).astype("<f4")
    made = affine.quantize(weight * scales, scheme)
    off = weight.astype(np.float64) - affine.dequantize(made) / scales.astype(np.float64)
    return float(((off @ gram) * off).sum()), Scaled(made, scales, exponent)
