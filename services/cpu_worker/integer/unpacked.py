"""Products with codes of 2 to 8 bits in groups of any size: rows become float32, a few at a time.

What a batch or an odd group costs beside `octets` and `nibbles` is this unpacking, once per batch.
"""

from typing import Any

import numpy as np

from services.cpu_worker.integer import octets
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes

STEP, SIDE = Lanes(16), Lanes(4)  # columns and rows of x in a step of a tile, see `octets`
ROOM = 2**18  # float32 of unpacked rows, half of a second-level cache


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
def floats(span: Any, matrix: Any, panel: Any, y: Any) -> None:
    """y[j, row] = the sum over columns of (code - zero) scale times x, in float32.

    Args:
        span: first row of the matrix, and the row after the last one.
        matrix: (codes, scale, zero, rows, cols, bits, flip): a stream of unsigned codes per row,
            little-endian, whole bytes a row; (rows * groups,) float32 and uint8; sizes; and bits
            that are turned over in every byte first.
        panel: tiles of four rows of x, see `panels.floats`.
        y: (tiles * 4 * rows,) float32, one row of x after the other; written for the span.
    """
    rows, cols = matrix[3], matrix[4]
    count = max(ROOM // max(cols, 1) // 4, 1) * 4
    values = np.empty(count * cols, dtype=np.float32)
    n = y.size // rows
    part = np.empty(n * count, dtype=np.float32)
    for start in range(span[0], span[1], count):
        high = min(count, span[1] - start)
        for row in range(high):
            unpack(start + row, matrix, values, row * cols)
        held = (values, high, cols)
        octets.floats((0, high), STEP, SIDE, held, panel, part[: n * high])
        for j in range(n):
            for row in range(high):
                y[j * rows + start + row] = part[j * high + row]


@shared
def floats_shared(bounds: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        floats((bounds[share], bounds[share + 1]), matrix, panel, y)
