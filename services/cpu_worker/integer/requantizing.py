"""Exact sums to bytes: the last step of a layer in integers; see `operators.static`."""

from typing import Any

import numpy as np

from services.cpu_worker.integer.panels import line
from services.cpu_worker.simd.compiled import kernel
from shared.tensors.dtypes import F32, I8, I32

MIDDLE = np.float32(1.5 * 2**23)  # added and taken away, it rounds a small float32 half to even


@kernel
def _to_bytes(sums: Any, factor: Any, least: int, zero: int, made: Any) -> None:
    """Each sum times its column's factor, rounded, moved by zero and saturated.

    Args:
        sums: (n * m,) int32.
        factor: (m,) float32.
        least: smaller sums count as this.
        zero: the code of zero.
        made: (n * m,) int8, written.
    """
    cols = factor.size
    low, high = np.float32(-128 - zero), np.float32(127 - zero)
    for row in range(sums.size // max(cols, 1)):
        held, to = sums[row * cols : row * cols + cols], made[row * cols : row * cols + cols]
        for col in range(cols):
            scaled = np.float32(max(held[col], np.int32(least))) * factor[col]
            scaled = min(max(scaled, low), high)  # whole numbers: clipped first, it rounds the same
            to[col] = np.int8(np.int32((scaled + MIDDLE) - MIDDLE) + zero)


def to_bytes(sums: I32, factor: F32, *, relu: bool, zero: int) -> I8:
    """What `operators.static.finished` makes as i8.

    Args:
        sums: (n, m) int32.
        factor: (m,) float32.
    """
    made = np.empty(sums.shape, dtype=np.int8)
    least = 0 if relu else int(np.iinfo(np.int32).min)
    _to_bytes(line(sums), line(factor), least, zero, made.reshape(-1))
    return made
