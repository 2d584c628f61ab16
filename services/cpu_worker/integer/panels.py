"""Rows of x in the order in which the kernels read them, filled up with zeros.

A tile is one row of x, or four; the last tile may hold rows of zeros. All arrays come back as one
line; shapes below are what it would be.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.compiled import kernel
from shared.tensors.dtypes import F32, I8, I32, U8, Array

BLOCK, WORD = 128, 8  # columns of 64 bytes of nibbles, and of one word of them
NO_SIGN = np.uint8(0x80)  # turned over, a byte -128..127 is one of 0..255, larger by 128
# A nibble is multiplied where it stands in its word, and the last one a place lower.
PLACES: F32 = np.array([16.0**-place for place in (0, 1, 2, 3, 4, 5, 6, 6)], dtype=np.float32)
PART = np.float32(1) / np.float32(127)
INFINITE = np.int32(0x7F800000)  # bits of infinity; those of NaN are more
MIDDLE = 1.5 * 2**52  # added and taken away, it rounds a float64 half to even
# A quotient by reciprocal is off by 2**-44 here, and one that is no tie is 2**-25 away from each:
# rounded to multiples of 2**-33, ties are ties and nothing else is.
SNAP = 1.5 * 2**19
SMALLEST = float(np.finfo(np.float32).smallest_normal)
ONES: F32 = np.ones(WORD, dtype=np.float32)


def line(array: Array) -> Any:
    """An array as one read-only, aligned line in row order; a view where it may be one.

    The type of an argument chooses the compiled code, and there should be one of each.
    """
    held = np.ascontiguousarray(array).reshape(-1).view()
    if not held.flags.aligned:
        held = held.copy()
    held.flags.writeable = False
    return held


def side(n: int) -> int:
    """Rows of a tile for a batch of n rows."""
    return 1 if n == 1 else 4


def floats(x: F32, high: int) -> F32:
    """(tiles, steps, high, 64 / high) float32.

    Args:
        x: (n, cols) float32.
        high: rows of a tile.
    """
    panel: F32 = _room(x.shape, high, 64 // high, np.float32)
    _copy(line(x), x.shape, high, 64 // high, panel)
    return panel


def octets(x: I8, high: int) -> U8:
    """(tiles, steps, high, 256 / high) uint8, each larger by 128 than the byte of x.

    Args:
        x: (n, cols) int8.
        high: rows of a tile.
    """
    moved = x.view(np.uint8) ^ NO_SIGN
    panel: U8 = _room(x.shape, high, 256 // high, np.uint8)
    _copy(line(moved), x.shape, high, 256 // high, panel)
    return panel


def planes(x: F32) -> tuple[F32, F32]:
    """x by the place of its column in a word, and the sums over words; tiles of one row.

    Args:
        x: (n, cols) float32.

    Returns:
        (n, blocks, 8, 16) float32, times 16 to the power of minus the place, and (n, blocks, 16)
        float32.
    """
    panel = _room(x.shape, 1, BLOCK, np.float32)
    sums: F32 = np.zeros(panel.size // WORD, dtype=np.float32)
    _by_place(line(x), x.shape, PLACES, panel, sums)
    return panel, sums


def by_place(x: F32) -> F32:
    """(n, blocks * 128) float32: as `planes`, but every value is as it was.

    Args:
        x: (n, cols) float32.
    """
    panel: F32 = _room(x.shape, 1, BLOCK, np.float32)
    _by_place(line(x), x.shape, ONES, panel, np.zeros(panel.size // WORD, dtype=np.float32))
    return panel.reshape(x.shape[0], -1)


def halves(x: I8, high: int) -> tuple[I8, I32]:
    """The even columns of each block of x, then the odd ones, and the sums over words.

    Args:
        x: (n, cols) int8.
        high: rows of a tile.

    Returns:
        (tiles, blocks, 2, high, 64) int8 and (tiles, blocks, high, 16) int32, times -8.
    """
    panel = _room(x.shape, high, BLOCK, np.int8)
    sums: I32 = np.zeros(panel.size // WORD, dtype=np.int32)
    _halve(line(x), x.shape, high, panel, sums)
    return panel, sums


def _room(shape: tuple[int, int], high: int, columns: int, dtype: Any) -> Any:
    """Zeros for tiles of `high` rows, in steps of so many columns."""
    n, cols = shape
    return np.zeros(-(-n // high) * -(-cols // columns) * high * columns, dtype=dtype)


@kernel
def _copy(x: Any, shape: Any, high: int, columns: int, panel: Any) -> None:
    n, cols = shape
    steps = (cols + columns - 1) // columns
    for row in range(n):
        start = (row // high * steps * high + row % high) * columns
        for step in range(steps):
            at, to = row * cols + step * columns, start + step * high * columns
            count = min(columns, cols - step * columns)
            held, made = x[at : at + count], panel[to : to + count]
            for offset in range(count):
                made[offset] = held[offset]


@kernel
def _by_place(x: Any, shape: Any, factors: Any, panel: Any, sums: Any) -> None:
    n, cols = shape
    words = (cols + BLOCK - 1) // BLOCK * (BLOCK // WORD)  # of a row, whole blocks
    for row in range(n):
        for word in range((cols + WORD - 1) // WORD):
            at, total = row * cols + word * WORD, np.float32(0)
            to = (row * words + word // 16 * 16) * WORD + word % 16
            held = x[at : at + min(WORD, cols - word * WORD)]
            made = panel[to : to + 7 * 16 + 1]
            for place in range(held.size):
                made[place * 16] = held[place] * factors[place]
                total += held[place]
            sums[row * words + word] = total


@kernel
def _halve(x: Any, shape: Any, high: int, panel: Any, sums: Any) -> None:
    n, cols = shape
    blocks = (cols + BLOCK - 1) // BLOCK
    for row in range(n):
        for word in range((cols + WORD - 1) // WORD):
            at, total = row * cols + word * WORD, np.int32(0)
            block, j = row // high * blocks + word // 16, row % high
            held = x[at : at + min(WORD, cols - word * WORD)]
            even = (block * 2 * high + j) * (BLOCK // 2) + word % 16 * (WORD // 2)
            odd = even + high * (BLOCK // 2)
            for place in range(held.size):
                panel[(odd if place % 2 else even) + place // 2] = held[place]
                total += held[place]
            sums[(block * high + j) * 16 + word % 16] = -8 * total


@kernel
def round_rows(x: Any, cols: int, smallest: float, octets: Any, scale: Any) -> None:
    """Rows as bytes and a scale each; see `shared.operators.int4.rounded`, the definition.

    Args:
        x: (n * cols,) float32.
        cols: columns.
        smallest: the least scale.
        octets: (n * cols,) int8, written.
        scale: (n,) float32, written.
    """
    largest = np.empty(1, dtype=np.int32)
    for row in range(scale.size):
        # Slices are indexed from 0 on: only then does the compiler see that no index is negative.
        held, made = x[row * cols : row * cols + cols], octets[row * cols : row * cols + cols]
        bits, most = held.view(np.int32), np.int32(0)
        for at in range(cols):
            most = max(most, bits[at] & np.int32(0x7FFFFFFF))  # as |x| is ordered, NaN last
        if most >= INFINITE:
            scale[row] = np.nan
            made[:] = 0
            continue
        largest[0] = most
        step = max(largest.view(np.float32)[0] * PART, np.float32(smallest))
        scale[row], per_step = step, np.float64(1) / np.float64(step)
        for at in range(cols):
            quotient = (np.float64(held[at]) * per_step + SNAP) - SNAP
            made[at] = np.int8(np.int32((quotient + MIDDLE) - MIDDLE))


def rounded(x: F32) -> tuple[I8, F32]:
    """`shared.operators.int4.rounded` by a compiled kernel."""
    octets = np.empty(x.shape, dtype=np.int8)
    scale: F32 = np.empty(x.shape[0], dtype=np.float32)
    round_rows(line(x), x.shape[1], SMALLEST, octets.reshape(-1), scale)
    return octets, scale
