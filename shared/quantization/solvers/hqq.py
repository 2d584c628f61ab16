"""HQQ: codes that fit most weights and let outliers be wrong; needs no data.

Source: Badri & Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models": the
error is split into a sparse part, found by shrinking (their eq. 5), and a rest that is minimised in
closed form. There the zero point is solved for and may lie between codes. Here it is a code, so
the scale is solved for too; symmetric codes have the scale alone.
"""

import numpy as np

from shared.quantization import affine
from shared.quantization.affine import Grid
from shared.quantization.observers import F64
from shared.quantization.scheme import Scheme
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

NORM = 0.7  # p of the error norm
ROUNDS = 20
START, GROWTH = 10.0, 1.01  # beta and its growth per round, relative to a step of 1


def quantize(weight: F32, scheme: Scheme) -> Tensor:
    """Round a weight with scales, or with zeros, of least l_p error, p < 1.

    Args:
        weight: (rows, cols) float32, finite.
        scheme: decides layout and groups.

    Returns:
        A tensor of the scheme's layout; rounding to nearest where that has the smaller l_p error.

    Raises:
        ValueError: as `affine.grid`.
    """
    found = affine.grid(weight, scheme)
    nearest = affine.with_grid(weight, found, scheme)
    if not weight.size:
        return nearest
    grouped = weight.astype(np.float64).reshape(*found.scale.shape, -1)
    beta = START
    for _ in range(ROUNDS):
        found = _better(grouped, found, scheme, beta)
        beta *= GROWTH
    made = affine.with_grid(weight, found, scheme)
    return made if _error(weight, made) < _error(weight, nearest) else nearest


def _better(grouped: F64, grid: Grid, scheme: Scheme, beta: float) -> Grid:
    """One round: outliers, then the scale or the zero that suits the rest."""
    size = grid.scale.astype(np.float64)[:, :, np.newaxis]
    low, high = (bound[:, :, np.newaxis] for bound in grid.bounds(scheme))
    steps = np.clip(np.rint(grouped / size), low, high)
    rest = grouped - _shrunk(grouped - steps * size, beta, size)
    if grid.zero is None:
        return Grid(_stored(_scale(rest, steps, size)))
    codes = steps + grid.zero[:, :, np.newaxis]
    middle = codes.mean(axis=-1, keepdims=True)
    fitted = _scale(rest - rest.mean(axis=-1, keepdims=True), codes - middle, size)
    zero = np.clip(np.rint(middle - rest.mean(axis=-1, keepdims=True) / fitted), 0, scheme.steps)
    return Grid(_stored(_scale(rest, codes - zero, fitted)), zero[:, :, 0].astype(np.uint8))


def _stored(scale: F64) -> F32:
    """(rows, groups) float32, normal."""
    return np.maximum(scale[:, :, 0], np.finfo(np.float32).smallest_normal).astype(np.float32)


def _shrunk(off: F64, beta: float, size: F64) -> F64:
    """The sparse part of an error: generalised soft threshold, in units of a step."""
    relative = np.abs(off) / size
    cut = np.maximum(relative, 1e-9) ** (NORM - 1) / beta
    kept: F64 = np.sign(off) * np.maximum(relative - cut, 0) * size
    return kept


def _scale(wanted: F64, steps: F64, size: F64) -> F64:
    """The scale of least squares for given steps; groups of zeros keep theirs."""
    power = (steps * steps).sum(axis=-1, keepdims=True)
    fitted = (wanted * steps).sum(axis=-1, keepdims=True) / np.maximum(power, 1e-30)
    return np.where((power > 0) & (fitted > 0), fitted, size)


def _error(weight: F32, made: Tensor) -> float:
    off = np.abs(weight.astype(np.float64) - affine.dequantize(made))
    return float((off**NORM).sum())
