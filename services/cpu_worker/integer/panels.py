"""Rows of x in the order in which the kernels read them, filled up with zeros.

A tile is one row of x, or four; the last tile may hold rows of zeros. All arrays come back as one
read-only line. Shapes below are what a line would be; width is 16 times the rows of a tile.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.compiled import kernel
from shared.tensors.dtypes import F32, I8, Array

BLOCK, WORD = 128, 8  # columns of 64 bytes of nibbles, and of one word of them
NO_SIGN = np.uint8(0x80)  # turned over, a byte -128..127 is one of 0..255, larger by 128
# A nibble is multiplied where it stands in its word, and the last one a place lower.
PLACES: F32 = np.array([16.0**-place for place in (0, 1, 2, 3, 4, 5, 6, 6)], dtype=np.float32)


def line(array: Array) -> Any:
    """An array as one read-only, aligned line in row order; a view where it may be one.

    The type of an argument chooses the compiled code, and there should be one of each.
    """
    held = np.require(array, requirements=["C", "A"]).reshape(-1).view()
    held.flags.writeable = False
    return held


def side(n: int) -> int:
    """Rows of a tile for a batch of n rows."""
    return 1 if n == 1 else 4


def floats(x: F32, high: int) -> Any:
    """(tiles, steps, high, 64 / high) float32.

    Args:
        x: (n, cols) float32.
        high: rows of a tile.
    """
    return line(_tiles(x, high, 64 // high).swapaxes(1, 2))


def octets(x: I8, high: int) -> Any:
    """(tiles, steps, high, 256 / high) uint8, each larger by 128 than the byte of x.

    Args:
        x: (n, cols) int8.
        high: rows of a tile.
    """
    return line(_tiles(x.view(np.uint8) ^ NO_SIGN, high, 256 // high).swapaxes(1, 2))


def planes(x: F32, high: int) -> tuple[Any, Any]:
    """x by the place of its column in a word, and the sums over words.

    Args:
        x: (n, cols) float32.
        high: rows of a tile.

    Returns:
        (tiles, blocks, 8, high, 16) float32, times 16 to the power of minus the place, and
        (tiles, blocks, high, 16) float32.
    """
    tiles = _tiles(x, high, BLOCK)
    words = tiles.reshape(*tiles.shape[:-1], 16, WORD)
    sums: F32 = words.sum(axis=-1, dtype=np.float32).swapaxes(1, 2)
    return line((words * PLACES).transpose(0, 2, 4, 1, 3)), line(sums)


def by_place(x: F32) -> F32:
    """(n, blocks * 128) float32: the columns of each block by their place in a word, then by word.

    Args:
        x: (n, cols) float32.
    """
    tiles = _tiles(x, 1, BLOCK)  # (n, 1, blocks, BLOCK)
    words = tiles.reshape(x.shape[0], -1, 16, WORD).swapaxes(2, 3)
    ordered: F32 = words.reshape(x.shape[0], -1)
    return ordered


def halves(x: I8, high: int) -> tuple[Any, Any]:
    """The even columns of each block of x, then the odd ones, and the sums over words.

    Args:
        x: (n, cols) int8.
        high: rows of a tile.

    Returns:
        (tiles, blocks, 2, high, 64) int8 and (tiles, blocks, high, 16) float32.
    """
    tiles = _tiles(x, high, BLOCK)
    words = tiles.reshape(*tiles.shape[:-1], 16, WORD)
    sums: F32 = words.sum(axis=-1, dtype=np.float32).swapaxes(1, 2)
    pairs = tiles.reshape(*tiles.shape[:-1], BLOCK // 2, 2)
    return line(pairs.transpose(0, 2, 4, 1, 3)), line(sums)


def _tiles(x: Array, high: int, columns: int) -> Any:
    """(tiles, high, steps, columns), a view of x where nothing has to be filled up."""
    n, cols = x.shape
    tiles, steps = -(-n // high), -(-cols // columns)
    if (tiles * high, steps * columns) != x.shape:
        wide = np.zeros((tiles * high, steps * columns), dtype=x.dtype)
        wide[:n, :cols] = x
        x = wide
    return x.reshape(tiles, high, steps, columns)


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
    for row in range(scale.size):
        start = row * cols
        largest = np.float32(0)
        for at in range(start, start + cols):
            size = abs(x[at])
            if not size <= largest:  # NaN stays
                largest = size
            if not size <= np.float32(3.4028235e38):
                break
        finite = largest <= np.float32(3.4028235e38)
        step = max(largest * (np.float32(1) / np.float32(127)), np.float32(smallest))
        scale[row] = step if finite else np.float32(np.nan)
        for at in range(start, start + cols):
            quotient = np.float64(x[at]) / np.float64(step)
            octets[at] = np.int8(np.rint(quotient)) if finite else np.int8(0)


def rounded(x: F32) -> tuple[I8, F32]:
    """`shared.operators.int4.rounded` by a compiled kernel."""
    octets = np.empty(x.shape, dtype=np.int8)
    scale: F32 = np.empty(x.shape[0], dtype=np.float32)
    round_rows(line(x), x.shape[1], SMALLEST, octets.reshape(-1), scale)
    return octets, scale


SMALLEST = float(np.finfo(np.float32).smallest_normal)
