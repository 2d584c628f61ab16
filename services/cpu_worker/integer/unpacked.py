"""Products with codes of 2 to 8 bits in groups of any size.

Rows become float32, a few at a time, and BLAS multiplies them.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.compiled import kernel, prange, shared

ROOM = 2**19  # float32 of unpacked rows: 2 MiB, a second-level cache
LEAST = 256  # rows of a product by BLAS, which lays x out anew for each


@kernel
def unpack(row: int, matrix: Any, values: Any, to: int) -> None:
    """One row as float32: (code - zero) × scale.

    Args:
        row: of the matrix.
        matrix: see `floats`.
        values: float32, written from `to` on.
        to: place of the first value.
    """
    codes, scale, zeros, rows, cols, bits, flip = matrix
    stride = (cols * bits + 7) // 8
    groups = scale.size // rows
    wide, start = cols // max(groups, 1), row * stride
    mask = (1 << bits) - 1
    for group in range(groups):
        factor, zero = scale[row * groups + group], np.int32(zeros[row * groups + group])
        first, last = group * wide, group * wide + wide
        if bits == 4 and wide % 2 == 0:
            for at in range(first // 2, last // 2):
                held = np.int32(codes[start + at]) ^ flip
                values[to + 2 * at] = np.float32((held & 15) - zero) * factor
                values[to + 2 * at + 1] = np.float32((held >> 4) - zero) * factor
        elif bits == 8:
            for at in range(first, last):
                held = np.int32(codes[start + at]) ^ flip
                values[to + at] = np.float32(held - zero) * factor
        else:
            for at in range(first, last):
                place = at * bits
                octet = place // 8
                held = np.int32(codes[start + octet])
                if octet + 1 < stride:
                    held |= np.int32(codes[start + octet + 1]) << 8
                held = ((held ^ flip) >> (place - 8 * octet)) & mask
                values[to + at] = np.float32(held - zero) * factor


@kernel
def floats(span: Any, matrix: Any, x: Any, y: Any) -> None:
    """y[row, j] = the sum over columns of (code - zero) scale times x, in float32.

    Args:
        span: first row of the matrix, and the row after the last one.
        matrix: (codes, scale, zero, rows, cols, bits, flip): a stream of unsigned codes per row,
            little-endian, whole bytes a row; (rows * groups,) float32 and uint8; sizes; and bits
            that are turned over in every byte first.
        x: (cols, n) float32, column-major.
        y: (rows, n) float32, row-major; written for the span.
    """
    cols = matrix[4]
    count = max(ROOM // max(cols, 1), LEAST)
    values = np.empty((count, cols), dtype=np.float32)
    flat = values.reshape(-1)
    for start in range(span[0], span[1], count):
        end = min(start + count, span[1])
        for row in range(start, end):
            unpack(row, matrix, flat, (row - start) * cols)
        np.dot(values[: end - start], x, y[start:end])


@shared
def floats_shared(bounds: Any, matrix: Any, x: Any, y: Any) -> None:
    """`floats` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        floats((bounds[share], bounds[share + 1]), matrix, x, y)
