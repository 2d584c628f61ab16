"""Products whose result tells which job it belongs to."""

from collections.abc import Mapping

import numpy as np

from shared.tensors import layouts
from shared.tensors.layouts import Tensor

SIDE = 256
WEIGHT = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE) % 7


def numbered(number: int) -> dict[str, Tensor]:
    """Inputs of gemm_f32: a row of x that holds the number of the job, (1, 256) f32."""
    x = np.full((1, SIDE), number, np.float32)
    return {"x": layouts.dense(x), "weight": layouts.dense(WEIGHT)}


def require_own(tensors: Mapping[str, Tensor], number: int) -> None:
    """What a job gave is the product of its own number; sums of small integers are exact."""
    np.testing.assert_array_equal(tensors["y"].values[0], WEIGHT.sum(axis=1) * number)
