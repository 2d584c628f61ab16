"""GPTQ: round a column, and let the columns that are left make up for its error.

Source: Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", Algorithm 1, with act-order and damping as its authors' program has them. Scales are
those of rounding to nearest, fixed before the first column (static groups), so act-order needs no
permutation in what is stored.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg

from shared.quantization import affine
from shared.quantization.affine import Grid
from shared.quantization.scheme import Scheme
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

BLOCK = 128  # columns whose updates to the rest are applied together
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def quantize(
    weight: F32, gram: F64, scheme: Scheme, *, act_order: bool = True, damping: float = 0.01
) -> Tensor:
    """Round a weight so that its product with inputs like the observed ones changes least.

    Args:
        weight: (rows, cols) float32, finite.
        gram: (cols, cols) float64: sum of xᵀ x over calibration rows.
        scheme: decides layout and scales.
        act_order: columns of large inputs first.
        damping: share of the mean diagonal that is added to every diagonal element.

    Returns:
        A tensor of the scheme's layout; rounding to nearest where that is better on the observed
        inputs.

    Raises:
        ValueError: as `affine.grid`; or the Gram matrix has another shape, is not finite, or the
            damping is not positive.
    """
    grid = affine.grid(weight, scheme)
    nearest = affine.with_grid(weight, grid, scheme)
    _require(weight, gram, damping)
    if not weight.size or not gram.any():
        return nearest
    order = np.argsort(-np.diag(gram), kind="stable") if act_order else np.arange(len(gram))
    lines = _lines(weight, grid, scheme, order)
    steps = np.empty(weight.shape, np.int16)
    steps[:, order] = _rounded(lines, _factor(gram[np.ix_(order, order)], damping))
    found = affine.with_steps(steps, grid, scheme)
    better = loss(weight, found, gram) <= loss(weight, nearest, gram)
    return found if better else nearest


def loss(weight: F32, quantized: Tensor, gram: F64) -> float:
    """Squared error of the products with the observed inputs: tr((W - Q) G (W - Q)ᵀ)."""
    off = weight.astype(np.float64) - affine.dequantize(quantized).astype(np.float64)
    return float(((off @ gram) * off).sum())


def _factor(gram: F64, damping: float) -> F64:
    """The upper Cholesky factor of the inverse; inputs that were always zero count as one."""
    damped = gram.copy()
    places = np.arange(len(gram))
    damped[places[np.diag(gram) == 0], places[np.diag(gram) == 0]] = 1.0
    damped[places, places] += damping * np.diag(damped).mean()
    inverse = linalg.cho_solve(linalg.cho_factor(damped), np.eye(len(gram)))
    return np.asarray(linalg.cholesky(inverse, lower=False))


class _Lines(NamedTuple):
    """A weight in the order of its columns, and for every element its step and its bounds."""

    wide: F64
    size: F64
    low: F64
    high: F64


def _lines(weight: F32, grid: Grid, scheme: Scheme, order: I64) -> _Lines:
    numbers = (grid.scale.astype(np.float64), *grid.bounds(scheme))
    size, low, high = (affine.spread(one, weight.shape)[:, order] for one in numbers)
    return _Lines(weight.astype(np.float64)[:, order], size, low, high)


def _rounded(lines: _Lines, factor: F64) -> F64:
    """Steps of all columns in order; the weight is used up."""
    wide, size, low, high = lines
    cols = wide.shape[1]
    steps = np.empty_like(wide)
    for first in range(0, cols, BLOCK):
        last = min(first + BLOCK, cols)
        errors = np.empty((wide.shape[0], last - first))
        for col in range(first, last):
            nearest = np.rint(wide[:, col] / size[:, col])
            steps[:, col] = np.clip(nearest, low[:, col], high[:, col])
            off = (wide[:, col] - steps[:, col] * size[:, col]) / factor[col, col]
            wide[:, col:last] -= np.outer(off, factor[col, col:last])
            errors[:, col - first] = off
        wide[:, last:] -= errors @ factor[first:last, last:]
    return steps


def _require(weight: F32, gram: F64, damping: float) -> None:
    cols = weight.shape[1]
    if gram.shape != (cols, cols):
        raise ValueError(f"a Gram matrix for {weight.shape} is {(cols, cols)}, got {gram.shape}")
    if not np.isfinite(gram).all():
        raise ValueError("a Gram matrix must be finite")
    if not damping > 0:
        raise ValueError(f"damping must be positive, got {damping}")
