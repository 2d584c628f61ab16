"""Changes around a quantized layer that make up for what rounding did; all leave its meaning."""

import numpy as np

from shared.quantization import affine
from shared.quantization.observers import F64, Observed
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

_SMALLEST = np.float32(1e-5)
SHARES = 20  # steps of the search for SmoothQuant's alpha


def bias_shift(weight: F32, quantized: Tensor, mean: F64) -> F32:
    """What to add to the bias so that the mean output stays: (W - Q) E[x].

    Args:
        weight: (rows, cols) float32.
        quantized: of the same shape.
        mean: (cols,) float64: mean input over calibration rows.

    Returns:
        (rows,) float32.

    Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias
    Correction", section 4.2, with observed means.
    """
    off = weight.astype(np.float64) - affine.dequantize(quantized)
    return np.asarray(off @ mean, dtype=np.float32)


def smooth(largest: F32, weight: F32, alpha: float) -> F32:
    """SmoothQuant: what to divide inputs by, and multiply columns with.

    Args:
        largest: (cols,) float32, largest absolute input of each column.
        weight: (rows, cols) float32.
        alpha: share of the difficulty that moves from inputs to weights, 0..1.

    Returns:
        (cols,) float32, positive; 1 for columns that carry nothing.

    Raises:
        ValueError: alpha is not a share, or the shapes do not fit.

    Source: Xiao et al. 2022, "SmoothQuant", eq. 4.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is a share of 0..1, got {alpha}")
    if largest.shape != weight.shape[1:]:
        raise ValueError(f"inputs of {largest.shape} columns do not fit weight {weight.shape}")
    heavy = np.abs(weight).max(axis=0, initial=0.0)
    plain = (largest < _SMALLEST) | (heavy < _SMALLEST)
    scales = np.where(
        plain,
        1.0,
        largest ** np.float32(alpha) / np.maximum(heavy, _SMALLEST) ** np.float32(1 - alpha),
    )
    return np.asarray(np.maximum(scales, _SMALLEST), dtype=np.float32)


def best_share(seen: Observed, weight: F32) -> float:
    """SmoothQuant's alpha of least expected error when both sides become bytes; searched.

    Inputs have one scale, so a step of theirs is the largest scaled input over 127, and rounding
    adds a variance of step² / 12 to each, which the weights pass on; what rounding the weights
    does is measured on the second moments of the inputs.

    Args:
        seen: (cols,) of the inputs, with second moments.
        weight: (rows, cols) float32.

    Raises:
        ValueError: there are no second moments, or the shapes do not fit.
    """
    if seen.gram is None:
        raise ValueError("a share is searched on second moments of the inputs; there are none")
    found = [_expected(seen, weight, step / SHARES) for step in range(SHARES + 1)]
    return int(np.argmin(found)) / SHARES


def _expected(seen: Observed, weight: F32, alpha: float) -> float:
    scales = smooth(seen.largest, weight, alpha)
    scaled = weight * scales
    assert seen.gram is not None  # asked before
    moments = seen.gram / np.outer(scales, scales).astype(np.float64)
    off = scaled.astype(np.float64) - affine.dequantize(affine.quantize(scaled, INT8_PER_CHANNEL))
    step = float((seen.largest / scales).max(initial=0.0)) / INT8_PER_CHANNEL.top
    passed_on = step**2 / 12 * float((scaled.astype(np.float64) ** 2).sum()) * seen.rows
    return float(((off @ moments) * off).sum()) + passed_on


def equalize(first: F32, second: F32) -> F32:
    """Cross-layer equalisation: what to divide the rows of a layer by, and multiply the next
    layer's columns with, so that both have the same range per channel.

    Args:
        first: (channels, cols) float32.
        second: (rows, channels) float32; only relu, or nothing, lies between the two.

    Returns:
        (channels,) float32, positive; 1 for channels that one of the two does not use.

    Raises:
        ValueError: the shapes do not fit.

    Source: Nagel et al. 2019, eq. 11.
    """
    if second.shape[1:] != first.shape[:1]:
        raise ValueError(f"weights {first.shape} and {second.shape} are not one after the other")
    out = np.abs(first).max(axis=1, initial=0.0)
    into = np.abs(second).max(axis=0, initial=0.0)
    used = (out > _SMALLEST) & (into > _SMALLEST)
    scales = np.where(used, np.sqrt(out / np.maximum(into, _SMALLEST)), 1.0)
    return np.asarray(scales, dtype=np.float32)
