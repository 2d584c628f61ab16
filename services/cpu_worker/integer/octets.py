"""Products with int8 codes stored row by row: float32 rows of x, or rows of bytes.

A matrix is (codes, rows, cols): (rows * cols,) int8 in one line. x comes as tiles of one or four of
its rows, see `panels`: a step of a tile holds as many columns of each of its rows as fill the
vector, so one load of codes serves all of them. Four rows of the matrix share each load of x.

Loop order: a chunk of rows of the matrix stays in the second-level cache while all tiles pass. For
many float32 rows of x see `unpacked`.
"""

from typing import Any

from services.cpu_worker.simd.arithmetic import fma, group_totals, lane, repeated, width, zero
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import (
    dot,
    load_some_words,
    load_words,
    no_words,
    repeated_words,
    word,
    word_totals,
)
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, load_some

WIDE, QUARTER = Lanes(64), Lanes(16)  # float32 of a step, or words of four bytes
ONE, FOUR = Lanes(1), Lanes(4)  # rows of a tile
ROWS = 4  # of the matrix at a time
CHUNK = 2**19  # bytes of codes, a quarter of a second-level cache


@kernel
def floats(span: Any, high: int, matrix: Any, panel: Any, y: Any) -> None:
    """y[j, row] = the sum over columns of code times x, in float32.

    Args:
        span: first row of the matrix, and the row after the last one.
        high: rows of x in a tile, 1 or 4.
        matrix: see above.
        panel: (tiles * steps * 64,) float32, see `panels.floats`.
        y: (tiles * high * rows,) float32, one row of x after the other; written for the span.
    """
    if high == 1:
        _floats(span, WIDE, ONE, matrix, panel, y)
    else:
        floats_of_four(span, matrix, panel, y)


@kernel
def floats_of_four(span: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` for tiles of four rows, of float32 instead of codes too."""
    _floats(span, QUARTER, FOUR, matrix, panel, y)


@kernel
def _floats(span: Any, step: Any, side: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` for tiles of so many rows, and so many columns of each in a step."""
    codes, rows, cols = matrix
    columns, high = width(step), width(side)
    size = -(-cols // columns) * width(WIDE)  # of a tile
    chunk = max(CHUNK // max(cols, 1) // ROWS, 1) * ROWS
    for start in range(span[0], span[1], chunk):
        end = min(start + chunk, span[1])
        for tile in range(y.size // (rows * high)):
            for first in range(start, end, ROWS):
                # At the lower edge the last row is taken again.
                of_a, of_b = first * cols, min(first + 1, end - 1) * cols
                of_c, of_d = min(first + 2, end - 1) * cols, min(first + 3, end - 1) * cols
                a, b, c, d = zero(WIDE), zero(WIDE), zero(WIDE), zero(WIDE)
                at, to = 0, tile * size
                while cols - at >= columns:
                    held = load(WIDE, panel, to)
                    a = fma(repeated(WIDE, load(step, codes, of_a + at)), held, a)
                    b = fma(repeated(WIDE, load(step, codes, of_b + at)), held, b)
                    c = fma(repeated(WIDE, load(step, codes, of_c + at)), held, c)
                    d = fma(repeated(WIDE, load(step, codes, of_d + at)), held, d)
                    at += columns
                    to += width(WIDE)
                if cols > at:
                    held, n = load(WIDE, panel, to), cols - at
                    a = fma(repeated(WIDE, load_some(step, codes, of_a + at, n)), held, a)
                    b = fma(repeated(WIDE, load_some(step, codes, of_b + at, n)), held, b)
                    c = fma(repeated(WIDE, load_some(step, codes, of_c + at, n)), held, c)
                    d = fma(repeated(WIDE, load_some(step, codes, of_d + at, n)), held, d)
                at_a, at_b = group_totals(side, a), group_totals(side, b)
                at_c, at_d = group_totals(side, c), group_totals(side, d)
                for j in range(high):
                    to = (tile * high + j) * rows
                    y[to + first] = lane(at_a, j)
                    y[to + min(first + 1, end - 1)] = lane(at_b, j)
                    y[to + min(first + 2, end - 1)] = lane(at_c, j)
                    y[to + min(first + 3, end - 1)] = lane(at_d, j)


@shared
def floats_shared(bounds: Any, high: int, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        floats((bounds[share], bounds[share + 1]), high, matrix, panel, y)


@kernel
def sums(span: Any, high: int, matrix: Any, panel: Any, y: Any) -> None:
    """y[j, row] = the sum over columns of code times byte, exact modulo 2**32.

    Args:
        span: first row of the matrix, and the row after the last one.
        high: rows of x in a tile, 1 or 4.
        matrix: see above.
        panel: (tiles * steps * 256,) uint8, see `panels.octets`.
        y: (tiles * high * rows,) int32, one row of x after the other; written for the span.
    """
    if high == 1:
        _sums(span, WIDE, ONE, matrix, panel, y)
    else:
        _sums(span, QUARTER, FOUR, matrix, panel, y)


@kernel
def _sums(span: Any, step: Any, side: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`sums` for tiles of so many rows, and so many words of each in a step."""
    codes, rows, cols = matrix
    columns, high = 4 * width(step), width(side)
    size = -(-cols // columns) * 4 * width(WIDE)  # of a tile
    chunk = max(CHUNK // max(cols, 1) // ROWS, 1) * ROWS
    for start in range(span[0], span[1], chunk):
        end = min(start + chunk, span[1])
        for tile in range(y.size // (rows * high)):
            for first in range(start, end, ROWS):
                of_a, of_b = first * cols, min(first + 1, end - 1) * cols
                of_c, of_d = min(first + 2, end - 1) * cols, min(first + 3, end - 1) * cols
                a, b, c, d = no_words(WIDE), no_words(WIDE), no_words(WIDE), no_words(WIDE)
                at, to = 0, tile * size
                while cols - at >= columns:
                    held = load_words(WIDE, panel, to)
                    a = dot(a, held, repeated_words(WIDE, load_words(step, codes, of_a + at)))
                    b = dot(b, held, repeated_words(WIDE, load_words(step, codes, of_b + at)))
                    c = dot(c, held, repeated_words(WIDE, load_words(step, codes, of_c + at)))
                    d = dot(d, held, repeated_words(WIDE, load_words(step, codes, of_d + at)))
                    at += columns
                    to += 4 * width(WIDE)
                if cols > at:
                    held, n = load_words(WIDE, panel, to), cols - at
                    last_a = load_some_words(step, codes, of_a + at, n)
                    last_b = load_some_words(step, codes, of_b + at, n)
                    last_c = load_some_words(step, codes, of_c + at, n)
                    last_d = load_some_words(step, codes, of_d + at, n)
                    a = dot(a, held, repeated_words(WIDE, last_a))
                    b = dot(b, held, repeated_words(WIDE, last_b))
                    c = dot(c, held, repeated_words(WIDE, last_c))
                    d = dot(d, held, repeated_words(WIDE, last_d))
                at_a, at_b = word_totals(side, a), word_totals(side, b)
                at_c, at_d = word_totals(side, c), word_totals(side, d)
                for j in range(high):
                    to = (tile * high + j) * rows
                    y[to + first] = word(at_a, j)
                    y[to + min(first + 1, end - 1)] = word(at_b, j)
                    y[to + min(first + 2, end - 1)] = word(at_c, j)
                    y[to + min(first + 3, end - 1)] = word(at_d, j)


@shared
def sums_shared(bounds: Any, high: int, matrix: Any, panel: Any, y: Any) -> None:
    """`sums` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        sums((bounds[share], bounds[share + 1]), high, matrix, panel, y)
