"""Which weights stay: masks of exact budgets. A mask is True where the weight is kept.

Ties are broken by position, the lower index (row-major) is kept, so a mask is a function of the
weights alone on every machine.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32

Mask = npt.NDArray[np.bool_]


def budget(size: int, sparsity: float) -> int:
    """Weights to keep so that the share `sparsity` of `size` is zero, rounded half to even.

    Raises:
        ValueError: the sparsity is not a share.
    """
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"sparsity is a share of 0..1, got {sparsity}")
    return size - round(size * sparsity)


def magnitude(weight: F32, kept: int) -> Mask:
    """Keep the `kept` weights of largest absolute value.

    Args:
        weight: any shape, float32, without NaN.
        kept: weights to keep, 0..size; the mask has exactly so many True.

    Returns:
        A mask of the shape of `weight`.

    Raises:
        ValueError: the budget exceeds the size, or a weight is NaN.

    Source: Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks".
    """
    return largest(_scores(weight).ravel(), kept).reshape(weight.shape)


def magnitude_across(weights: Mapping[str, F32], kept: int) -> dict[str, Mask]:
    """Keep the `kept` largest weights of all tensors together (global scope).

    Ties go to the tensor that comes first in `weights`, then to the lower index.

    Args:
        weights: by name; any shapes, float32, without NaN.
        kept: weights to keep over all tensors.

    Returns:
        One mask per tensor, together with exactly `kept` True.

    Raises:
        ValueError: as `magnitude`.
    """
    flat = [_scores(weight).ravel() for weight in weights.values()]
    chosen = largest(np.concatenate([*flat, np.empty(0, np.float32)]), kept)
    ends = np.cumsum([scores.size for scores in flat])
    pieces = np.split(chosen, ends[:-1])
    return {
        name: piece.reshape(weight.shape)
        for (name, weight), piece in zip(weights.items(), pieces, strict=False)
    }


def n_of_m(weight: F32, *, n: int, m: int) -> Mask:
    """Keep the `n` largest of every `m` neighbouring columns.

    Args:
        weight: (rows, cols) float32, without NaN; m divides cols.
        n: kept per group, 0..m.
        m: columns per group; 4 with n = 2 is the usual pattern.

    Returns:
        (rows, cols) mask with exactly n True in each group.

    Raises:
        ValueError: groups do not divide the columns, n exceeds m, or a weight is NaN.
    """
    if weight.ndim != 2 or m < 1 or weight.shape[1] % m:
        raise ValueError(f"groups of {m} columns do not divide a weight of shape {weight.shape}")
    if not 0 <= n <= m:
        raise ValueError(f"n must be 0..{m}, got {n}")
    groups = _scores(weight).reshape(-1, m)
    order = np.argsort(-groups, axis=1, kind="stable")[:, :n]
    mask = np.zeros(groups.shape, dtype=np.bool_)
    np.put_along_axis(mask, order, values=True, axis=1)
    return mask.reshape(weight.shape)


def of_blocks(scores: F32, *, height: int, width: int) -> F32:
    """The mean score of every aligned block; those at the edges may be smaller.

    Args:
        scores: (rows, cols) float32, not negative, without NaN; see `scores`.
        height, width: of a block; 16 and 64 are what the kernels like.

    Returns:
        (blocks down, blocks across) float32.

    Raises:
        ValueError: not two dimensions, or a block without extent.
    """
    if scores.ndim != 2 or height < 1 or width < 1:
        raise ValueError(f"blocks of {height} × {width} do not cut shape {scores.shape}")
    rows, cols = scores.shape
    down, across = np.arange(0, rows, height), np.arange(0, cols, width)
    if not scores.size:
        return np.zeros((down.size, across.size), dtype=np.float32)
    sums = np.add.reduceat(np.add.reduceat(scores.astype(np.float64), down, 0), across, 1)
    filled = np.add.outer(np.zeros(down.size), np.diff(np.append(across, cols)))
    filled *= np.diff(np.append(down, rows))[:, np.newaxis]
    return np.asarray(sums / filled, dtype=np.float32)


def whole_blocks(chosen: Mask, shape: tuple[int, int], *, height: int, width: int) -> Mask:
    """A mask of (rows, cols) from one of its blocks, as `of_blocks` cuts them."""
    rows, cols = shape
    return np.repeat(np.repeat(chosen, height, 0)[:rows], width, 1)[:, :cols]


def of_rows(scores: Sequence[F32]) -> F32:
    """The root mean square score of rows (neurons, output channels) that leave together.

    Args:
        scores: (rows, cols) float32 of each layer that loses them, without NaN.

    Returns:
        (rows,) float32; a mean, so that layers of any width compare.

    Raises:
        ValueError: no layer, or one that is no matrix of as many rows.
    """
    if not scores or any(one.ndim != 2 or len(one) != len(scores[0]) for one in scores):
        raise ValueError(f"rows are kept of matrices, got shapes {[one.shape for one in scores]}")
    columns = sum(one.shape[1] for one in scores)
    total = sum(np.square(one, dtype=np.float64).sum(axis=1) for one in scores)
    return np.asarray(np.sqrt(total / max(columns, 1)), dtype=np.float32)


def apply(weight: F32, mask: Mask) -> F32:
    """A copy of `weight` with positive zero where the mask is False.

    Raises:
        ValueError: the shapes differ.
    """
    if weight.shape != mask.shape:
        raise ValueError(f"mask {mask.shape} does not fit weight {weight.shape}")
    return np.where(mask, weight, np.float32(0.0))


def _scores(weight: F32) -> F32:
    if np.isnan(weight).any():
        raise ValueError(f"{np.isnan(weight).sum()} weights are NaN and cannot be ranked")
    return np.abs(weight)


def largest(scores: F32, kept: int) -> Mask:
    """Mask of the `kept` largest, in linear time: all above the threshold, then ties in order.

    Args:
        scores: (n,) float32, without NaN.

    Raises:
        ValueError: the budget exceeds the size.
    """
    if not 0 <= kept <= scores.size:
        raise ValueError(f"cannot keep {kept} of {scores.size} weights")
    if kept == 0:
        return np.zeros(scores.shape, dtype=np.bool_)
    threshold = np.partition(scores, scores.size - kept)[scores.size - kept]
    mask: Mask = scores > threshold
    ties = np.flatnonzero(scores == threshold)
    mask[ties[: kept - int(mask.sum())]] = True
    return mask
