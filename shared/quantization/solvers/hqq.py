"""HQQ without a zero point: scales that fit most weights and let outliers be wrong; needs no data.

Source: Badri & Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models": the
error is split into a sparse part, found by shrinking (their eq. 5), and a rest that is minimised in
closed form. There the zero point is solved for; symmetric codes have none, so the scale is.
"""

import numpy as np

from shared.quantization import affine
from shared.quantization.observers import F64
from shared.quantization.scheme import Scheme
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

NORM = 0.7  # p of the error norm
ROUNDS = 20
START, GROWTH = 10.0, 1.01  # beta and its growth per round, relative to a step of 1


def quantize(weight: F32, scheme: Scheme) -> Tensor:
    """Round a weight with scales of least l_p error, p < 1.

    Args:
        weight: (rows, cols) float32, finite.
        scheme: decides layout and groups.

    Returns:
        A tensor of the scheme's layout; rounding to nearest where that has the smaller l_p error.

    Raises:
        ValueError: as `affine.scales`.
    """
    nearest = affine.quantize(weight, scheme)
    if not weight.size:
        return nearest
    scale = nearest.parts["scale"].astype(np.float64)
    grouped = weight.astype(np.float64).reshape(len(weight), scale.shape[1], -1)
    found, beta = scale[:, :, np.newaxis], START
    for _ in range(ROUNDS):
        codes = np.clip(np.rint(grouped / found), -scheme.top, scheme.top)
        outliers = _shrunk(grouped - codes * found, beta, found)
        found = _fitted(grouped - outliers, codes, found)
        beta *= GROWTH
    made = affine.with_scale(weight, found[:, :, 0].astype(np.float32), scheme)
    return made if _error(weight, made) < _error(weight, nearest) else nearest


def _shrunk(off: F64, beta: float, size: F64) -> F64:
    """The sparse part of an error: generalised soft threshold, in units of a step."""
    relative = np.abs(off) / size
    cut = np.maximum(relative, 1e-9) ** (NORM - 1) / beta
    kept: F64 = np.sign(off) * np.maximum(relative - cut, 0) * size
    return kept


def _fitted(wanted: F64, codes: F64, size: F64) -> F64:
    """The scale of least squares for given codes; groups of zeros keep theirs."""
    power = (codes * codes).sum(axis=-1, keepdims=True)
    fitted = (wanted * codes).sum(axis=-1, keepdims=True) / np.maximum(power, 1e-30)
    return np.where((power > 0) & (fitted > 0), fitted, size)


def _error(weight: F32, made: Tensor) -> float:
    off = np.abs(weight.astype(np.float64) - affine.dequantize(made))
    return float((off**NORM).sum())
