"""How much a weight matters: the masks keep the largest. All are pure and of the weight's shape."""

import numpy as np

from shared.tensors.dtypes import F32


def magnitude(weight: F32) -> F32:
    """|w|. Source: Han et al. 2015."""
    return np.abs(weight)


def gradient(weight: F32, slope: F32) -> F32:
    """|w × dL/dw|, the first-order change of the loss when w goes.

    Args:
        weight, slope: the same shape, float32; the slope over training rows.

    Raises:
        ValueError: the shapes differ.

    Source: Molchanov et al. 2017, eq. 7, per weight.
    """
    if weight.shape != slope.shape:
        raise ValueError(f"a slope of shape {slope.shape} does not fit weight {weight.shape}")
    found: F32 = np.abs(weight * slope)
    return found


def snip(weight: F32, slope: F32) -> F32:
    """|w × dL/dw| as a share of the layers' sum, taken before training.

    Args and Raises: as `gradient`. Divide by the sum over all layers to compare between them.

    Source: Lee et al. 2019, "SNIP", eq. 6.
    """
    found = gradient(weight, slope)
    total = found.sum(dtype=np.float64)
    return found if total == 0 else np.asarray(found / total, dtype=np.float32)


def wanda(weight: F32, norms: F32) -> F32:
    """|w| times the norm of the input it multiplies.

    Args:
        weight: (rows, cols) float32.
        norms: (cols,) float32: the l2 norm of each input feature over calibration rows, the root
            of the Gram matrix's diagonal.

    Raises:
        ValueError: the norms do not fit, or are negative or not finite.

    Source: Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models".
    """
    if weight.ndim != 2 or norms.shape != weight.shape[1:]:
        raise ValueError(f"norms of shape {norms.shape} do not fit weight {weight.shape}")
    if not (np.isfinite(norms).all() and (norms >= 0).all()):
        raise ValueError("norms must be finite and not negative")
    return np.abs(weight) * norms
