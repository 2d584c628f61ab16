"""Float32 rows of x times int8 codes, by three exact products of bytes.

A row of x is a power of two times integers below 2**22, and each of these is three digits of eight
bits: x = step (65536 a + 256 b + c). The products of the digits with the codes are exact integers,
which a processor with integer dot products sums four at a time, and ONNX Runtime faster still.

What is lost: x is rounded to 22 bits below the largest of its row, where float32 keeps 24 bits of
every element. So this is for rows whose largest element is not far above the rest (PEAK); others
are multiplied in float32. Integers below 2**22, and what else is a multiple of the step, are exact.
"""

from typing import Any

import numpy as np

from services.cpu_worker.integer.panels import line
from services.cpu_worker.integer.weight import Summing
from services.cpu_worker.simd.arithmetic import fma, total, zero
from services.cpu_worker.simd.compiled import kernel
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, load_some
from shared.tensors.dtypes import F32, I8

DIGITS = 3
PLACE = 22  # bits of the integers, so that the upper digit stays below 128
PEAK = np.float32(16)  # the largest element over the root of the mean square; error 2**-22 of that
LOW, HIGH = np.float32(1e-15), np.float32(1e15)  # of the largest; squares stay normal numbers
MOST_COLUMNS = 2**17  # beyond, a sum of bytes may leave 32 bits: 128 * 128 * 2**17 is 2**31
MIDDLE = np.float32(1.5 * 2**23)  # added and taken away, it rounds what is below 2**22 half to even
WIDE, STEP = Lanes(64), 64


def multiply(weight: Summing, x: F32) -> F32 | None:
    """x Wᵀ, see `weight.Quantized`; None where x does not suit.

    Args:
        weight: its sums may be anybody's.
        x: (n, cols) float32, not empty.
    """
    n, cols = x.shape
    if cols >= MOST_COLUMNS:
        return None
    digits: I8 = np.empty((DIGITS * n, cols), dtype=np.int8)
    step: F32 = np.empty(n, dtype=np.float32)
    if not split(line(x), cols, digits.reshape(-1), step):
        return None
    sums = weight.sums(digits)
    made: F32 = np.empty((n, sums.shape[1]), dtype=np.float32)
    join(line(sums), step, line(weight.scale), made.reshape(-1))
    return made


@kernel
def split(x: Any, cols: int, digits: Any, step: Any) -> bool:
    """The digits of all rows, the upper ones first; False where a row does not suit.

    Args:
        x: (n * cols,) float32.
        cols: columns, 1 or more.
        digits: (3 * n * cols,) int8, written.
        step: (n,) float32, written.
    """
    size = step.size * cols
    for row in range(step.size):
        # Slices are indexed from 0 on: only then does the compiler see that no index is negative.
        start, end = row * cols, row * cols + cols
        held, upper = x[start:end], digits[start:end]
        middle, lower = digits[size + start : size + end], digits[2 * size + start : 2 * size + end]
        bits, largest = held.view(np.int32), np.int32(0)
        for at in range(cols):
            largest = max(largest, bits[at] & np.int32(0x7FFFFFFF))
        if largest == 0:
            step[row], upper[:], middle[:], lower[:] = 0, 0, 0, 0
            continue
        exponent = np.int64(largest >> 23) - 126  # the largest is below 2**exponent
        peak = np.float32(2.0**exponent)
        if not (LOW < peak < HIGH):  # NaN and infinity too: their exponent is 129
            return False
        if peak * peak * cols > np.float32(4) * PEAK * PEAK * _squares(x, start, cols):
            return False
        factor = np.float32(2.0 ** (PLACE - exponent))
        step[row] = np.float32(2.0 ** (exponent - PLACE))
        for at in range(cols):
            value = np.int32((held[at] * factor + MIDDLE) - MIDDLE)
            low = ((value + np.int32(128)) & np.int32(255)) - np.int32(128)
            value = (value - low) >> np.int32(8)
            centre = ((value + np.int32(128)) & np.int32(255)) - np.int32(128)
            lower[at], middle[at] = np.int8(low), np.int8(centre)
            upper[at] = np.int8((value - centre) >> np.int32(8))
    return True


@kernel
def _squares(x: Any, start: int, count: int) -> Any:
    """The sum of the squares of neighbouring elements."""
    sums, at = zero(WIDE), 0
    while count - at >= STEP:
        held = load(WIDE, x, start + at)
        sums = fma(held, held, sums)
        at += STEP
    if count > at:
        held = load_some(WIDE, x, start + at, count - at)
        sums = fma(held, held, sums)
    return total(sums)


@kernel
def join(sums: Any, step: Any, scale: Any, y: Any) -> None:
    """y[j, row] = (65536 a + 256 b + c) step[j] scale[row].

    Args:
        sums: (3 * n * rows,) int32: a of all rows of x, then b, then c.
        step: (n,) float32.
        scale: (rows,) float32.
        y: (n * rows,) float32, written.
    """
    rows, size = scale.size, y.size
    for j in range(step.size):
        start, end = j * rows, j * rows + rows
        made, upper = y[start:end], sums[start:end]
        middle, lower = sums[size + start : size + end], sums[2 * size + start : 2 * size + end]
        for row in range(rows):
            rest = np.float32(middle[row]) * np.float32(256) + np.float32(lower[row])
            exact = np.float32(upper[row]) * np.float32(65536) + rest
            made[row] = exact * step[j] * scale[row]
