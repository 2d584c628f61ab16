"""Products with codes of 2 to 8 bits in groups of any size.

Rows become float32, a few at a time, and BLAS multiplies them.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.arithmetic import add, mul, splat
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import flipped, load_fields, numbers
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import store

EIGHT = Lanes(8)

ROOM = 2**19  # float32 of unpacked rows: 2 MiB, a second-level cache
LEAST = 256  # rows of a product by BLAS, which lays x out anew for each


@kernel
def unpack(row: int, matrix: Any, values: Any) -> None:
    """One row as float32: (code - zero) × scale.

    Args:
        row: of the matrix.
        matrix: see `floats`.
        values: (cols,) float32, written.
    """
    codes, scale, zeros, rows, cols, bits, flip = matrix
    stride = (cols * bits + 7) // 8
    groups = scale.size // rows
    wide, start = cols // max(groups, 1), row * stride
    for group in range(groups):
        factor, zero = scale[row * groups + group], np.float32(zeros[row * groups + group])
        first, last = group * wide, group * wide + wide
        at = first
        if first % 8 == 0:
            factors, taken = splat(EIGHT, factor), splat(EIGHT, -zero)
            while last - at >= 8 and codes.size - (start + at // 8 * bits) >= 8:
                held = load_fields(codes, start + at // 8 * bits, bits)
                store(values, at, mul(add(numbers(flipped(held, flip)), taken), factors))
                at += 8
        while at < last:
            values[at] = (
                np.float32(_code(codes, start, stride, at * bits, bits) ^ flip) - zero
            ) * factor
            at += 1


@kernel
def _code(codes: Any, start: int, stride: int, place: int, bits: int) -> Any:
    """The code whose lowest bit is number `place` of a row."""
    octet = place // 8
    held = np.int32(codes[start + octet])
    if octet + 1 < stride:
        held |= np.int32(codes[start + octet + 1]) << np.int32(8)
    return (held >> np.int32(place - 8 * octet)) & np.int32((1 << bits) - 1)


@kernel
def floats(span: Any, matrix: Any, x: Any, y: Any) -> None:
    """y[row, j] = the sum over columns of (code - zero) scale times x, in float32.

    Args:
        span: first row of the matrix, and the row after the last one.
        matrix: (codes, scale, zero, rows, cols, bits, flip): a stream of unsigned codes per row,
            little-endian, whole bytes a row; (rows * groups,) float32 and uint8; sizes; and bits
            that are turned over in every code.
        x: (cols, n) float32, column-major.
        y: (rows, n) float32, row-major; written for the span.
    """
    cols = matrix[4]
    count = max(ROOM // max(cols, 1), LEAST)
    values = np.empty((count, cols), dtype=np.float32)
    for start in range(span[0], span[1], count):
        end = min(start + count, span[1])
        for row in range(start, end):
            unpack(row, matrix, values[row - start])
        np.dot(values[: end - start], x, y[start:end])


@shared
def floats_shared(bounds: Any, matrix: Any, x: Any, y: Any) -> None:
    """`floats` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        floats((bounds[share], bounds[share + 1]), matrix, x, y)
