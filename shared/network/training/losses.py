"""What training makes small: a number, and its slope with respect to the scores."""

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32, Array

Labels = npt.NDArray[np.int64]


def labels_of(given: Array) -> Labels:
    """Labels as int64; they may come in any type, but have to be whole.

    Raises:
        ValueError: one is not a whole number.
    """
    with np.errstate(invalid="ignore"):
        whole = given.astype(np.int64, copy=False)
    if (wrong := given[whole != given]).size:
        raise ValueError(f"labels are whole numbers of classes, got {wrong.ravel()[0]}")
    return whole


def cross_entropy(scores: F32, labels: Labels) -> tuple[float, F32]:
    """Mean of -log softmax(scores)[label].

    Args:
        scores: (n, classes) float32, before any softmax.
        labels: (n,) int64, each in 0..classes - 1.

    Returns:
        The loss [nats], and (n, classes) float32: softmax minus one at the label, over n.

    Raises:
        ValueError: shapes do not fit, or a label is out of range.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores {scores.shape} do not fit labels {labels.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < scores.shape[1]):
        wrong = labels[(labels < 0) | (labels >= scores.shape[1])][0]
        raise ValueError(f"label {wrong} is not one of the {scores.shape[1]} classes")
    rows = np.arange(labels.size)
    shifted = scores - scores.max(axis=1, keepdims=True)
    grown = np.exp(shifted)
    total = grown.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - shifted[rows, labels]).mean())
    slope: F32 = grown / total
    slope[rows, labels] -= np.float32(1)
    return loss, slope / np.float32(labels.size)


def mse(made: F32, wanted: F32) -> tuple[float, F32]:
    """Mean of squared differences over all elements.

    Args:
        made: (n, ...) float32.
        wanted: the same shape.

    Returns:
        The loss, and 2 (made - wanted) over the number of elements.

    Raises:
        ValueError: the shapes differ.
    """
    if made.shape != wanted.shape:
        raise ValueError(f"the network makes {made.shape}, the targets are {wanted.shape}")
    off: F32 = made - wanted
    return float(np.square(off, dtype=np.float64).mean()), off * np.float32(2 / max(off.size, 1))
