"""Products with codes of four bits and a scale per group of columns: float32 rows of x, or bytes.

A matrix is (codes, scale, zero, rows, cols, flip): (rows * ceil(cols / 2),) uint8 in one line, even
columns in the low nibbles; float32 scales, one or four per block of 128 columns; as many uint8, or
none where zero is 8; and the bits to turn over, which make signed codes unsigned. The value of a
code is (code - zero) × scale.

64 bytes of codes are 16 words of eight columns each, so a word lies in one group. x comes
rearranged for that (see `panels`), with its sums over eight columns beside it: what zero takes away
is subtracted word by word, before anything large is summed. For some rows of x, rows of the matrix
become float32 in that order, a few at a time, for the kernel of `octets`; for many see `unpacked`.
"""

from typing import Any

import numpy as np

from services.cpu_worker.integer import octets as rows_of_codes
from services.cpu_worker.simd.arithmetic import (
    add,
    fma,
    group_totals,
    lane,
    mul,
    repeated,
    splat,
    spread,
    total,
    width,
    zero,
)
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import (
    dot,
    flipped,
    load_some_words,
    load_words,
    masked,
    numbers,
    repeated_words,
    shifted,
)
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, number, store

LINE, WIDE = Lanes(16), Lanes(64)  # words of a block, for one row of x or for four
ONE, FOUR = Lanes(1), Lanes(4)  # rows of a tile; also groups of a block
BLOCK = 128  # columns
BYTES = BLOCK // 2
SIGNED = np.float32(8)  # zero of codes that were signed
LOW = np.int32(0x0F0F0F0F)
CHUNK = 2**19  # bytes of codes, a quarter of a second-level cache
ROOM = 2**17  # float32 of unpacked rows, a quarter of one too


@kernel
def _factors(values: Any, per: int, first: int) -> Any:
    """One or four neighbouring numbers, over the 16 words of a block."""
    if per == 1:
        return splat(LINE, number(values, first))
    return spread(LINE, load(FOUR, values, first))


@kernel
def _codes(matrix: Any, row: int, block: int) -> Any:
    """The 64 bytes of a block of a row as words; beyond the row they mean nothing."""
    codes, _, _, _, cols, flip = matrix
    stride = (cols + 1) // 2
    at = block * BYTES
    if stride - at >= BYTES:
        return flipped(load_words(LINE, codes, row * stride + at), flip)
    return flipped(load_some_words(LINE, codes, row * stride + at, stride - at), flip)


@kernel
def _zero(matrix: Any, per: int, first: int) -> Any:
    """What is taken from the codes of each word of a block, negative."""
    if matrix[2].size:
        return mul(_factors(matrix[2], per, first), splat(LINE, np.float32(-1)))
    return splat(LINE, -SIGNED)


@kernel
def _plane(held: Any, place: int) -> Any:
    """The codes in one nibble of every word as float32, times 16 to the power of their place.

    The last place would be a sign; it comes shifted by one, to the power of the one before.
    """
    if place == 7:
        return numbers(masked(shifted(held, 4), np.int32(15 << 24)))
    return numbers(masked(held, np.int32(15 << 4 * place)))


@kernel
def floats(span: Any, matrix: Any, panel: Any, y: Any) -> None:
    """y[j, row] = the sum over columns of (code - zero) scale times x, in float32.

    Args:
        span: first row of the matrix, and the row after the last one.
        matrix: see above.
        panel: (x, sums): (n * blocks * 8 * 16,) and (n * blocks * 16,) float32, see
            `panels.planes`.
        y: (n * rows,) float32, one row of x after the other; written for the span.
    """
    scale, rows, cols = matrix[1], matrix[3], matrix[4]
    x, x_sums = panel
    step, blocks = width(LINE), (cols + BLOCK - 1) // BLOCK
    per = scale.size // max(rows * blocks, 1)
    chunk = max(2 * CHUNK // max(cols, 1), 1)
    for start in range(span[0], span[1], chunk):
        for j in range(y.size // rows):
            for row in range(start, min(start + chunk, span[1])):
                sums = zero(LINE)
                for block in range(blocks):
                    first, at = (row * blocks + block) * per, (j * blocks + block) * step
                    held = _codes(matrix, row, block)
                    part = mul(load(LINE, x_sums, at), _zero(matrix, per, first))
                    at *= 8
                    part = fma(_plane(held, 0), load(LINE, x, at), part)
                    part = fma(_plane(held, 1), load(LINE, x, at + step), part)
                    part = fma(_plane(held, 2), load(LINE, x, at + 2 * step), part)
                    part = fma(_plane(held, 3), load(LINE, x, at + 3 * step), part)
                    part = fma(_plane(held, 4), load(LINE, x, at + 4 * step), part)
                    part = fma(_plane(held, 5), load(LINE, x, at + 5 * step), part)
                    part = fma(_plane(held, 6), load(LINE, x, at + 6 * step), part)
                    part = fma(_plane(held, 7), load(LINE, x, at + 7 * step), part)
                    sums = fma(_factors(scale, per, first), part, sums)
                y[j * rows + row] = total(sums)


@shared
def floats_shared(bounds: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        floats((bounds[share], bounds[share + 1]), matrix, panel, y)


@kernel
def _exact(wide: Any, held: Any, x: Any, at: int, first: Any) -> Any:
    """The sums of eight products of each word of a block with one of each row of x."""
    even = repeated_words(wide, masked(held, LOW))
    odd = repeated_words(wide, masked(shifted(held, 4), LOW))
    part = dot(first, even, load_words(wide, x, 8 * at))
    return numbers(dot(part, odd, load_words(wide, x, 8 * at + 4 * width(wide))))


@kernel
def octets(span: Any, high: int, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` with bytes for x and 8 for zero: the sum of eight products is an exact integer.

    Args:
        high: rows of x in a tile, 1 or 4.
        panel: (x, sums): (tiles * blocks * 2 * 4 * width,) int8 and (tiles * blocks * width,)
            int32, what zero takes away; see `panels.halves`.
    """
    if high == 1:
        _octets(span, LINE, ONE, matrix, panel, y)
    else:
        _octets(span, WIDE, FOUR, matrix, panel, y)


@kernel
def _octets(span: Any, wide: Any, side: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`octets` for tiles of so many rows; `wide` is 16 words for each of them."""
    scale, rows, cols = matrix[1], matrix[3], matrix[4]
    x, x_sums = panel
    high, step, blocks = width(side), width(wide), (cols + BLOCK - 1) // BLOCK
    per = scale.size // max(rows * blocks, 1)
    chunk = max(CHUNK // max(cols, 1), 1) * 2
    for start in range(span[0], span[1], chunk):
        end = min(start + chunk, span[1])
        for tile in range(y.size // (rows * high)):
            for row in range(start, end, 2):
                below = min(row + 1, end - 1)  # the last row again
                total_a, total_b = zero(wide), zero(wide)
                for block in range(blocks):
                    at = (tile * blocks + block) * step
                    first = load_words(wide, x_sums, at)
                    part_a = _exact(wide, _codes(matrix, row, block), x, at, first)
                    part_b = _exact(wide, _codes(matrix, below, block), x, at, first)
                    held = _factors(scale, per, (row * blocks + block) * per)
                    total_a = fma(repeated(wide, held), part_a, total_a)
                    held = _factors(scale, per, (below * blocks + block) * per)
                    total_b = fma(repeated(wide, held), part_b, total_b)
                found_a, found_b = group_totals(side, total_a), group_totals(side, total_b)
                for j in range(high):
                    y[(tile * high + j) * rows + row] = lane(found_a, j)
                    y[(tile * high + j) * rows + below] = lane(found_b, j)


@shared
def octets_shared(bounds: Any, high: int, matrix: Any, panel: Any, y: Any) -> None:
    """`octets` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        octets((bounds[share], bounds[share + 1]), high, matrix, panel, y)


@kernel
def _unpack(matrix: Any, row: int, values: Any, to: int) -> None:
    """The values of one row, a block after the other, each by the place in a word; from `to` on."""
    scale, rows, cols = matrix[1], matrix[3], matrix[4]
    blocks = (cols + BLOCK - 1) // BLOCK
    per = scale.size // max(rows * blocks, 1)
    for block in range(blocks):
        first = (row * blocks + block) * per
        held = _codes(matrix, row, block)
        taken, factor = _zero(matrix, per, first), _factors(scale, per, first)
        for _ in range(8):
            code = numbers(masked(held, np.int32(15)))
            store(values, to, mul(add(code, taken), factor))
            held = shifted(held, 4)
            to += width(LINE)


@kernel
def some(span: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`floats` for some rows of x.

    Args:
        panel: tiles of four rows of x, see `panels.floats`, in the order of `panels.by_place`.
    """
    rows, cols = matrix[3], matrix[4]
    wide = (cols + BLOCK - 1) // BLOCK * BLOCK
    count = max(ROOM // max(wide, 1) // 4, 1) * 4
    values = np.empty(count * wide, dtype=np.float32)
    n = y.size // rows
    part = np.empty(n * count, dtype=np.float32)
    for start in range(span[0], span[1], count):
        high = min(count, span[1] - start)
        for row in range(high):
            _unpack(matrix, start + row, values, row * wide)
        held = (values, high, wide)
        rows_of_codes.floats_of_four((0, high), held, panel, part[: n * high])
        for j in range(n):
            for row in range(high):
                y[j * rows + start + row] = part[j * high + row]


@shared
def some_shared(bounds: Any, matrix: Any, panel: Any, y: Any) -> None:
    """`some` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        some((bounds[share], bounds[share + 1]), matrix, panel, y)
