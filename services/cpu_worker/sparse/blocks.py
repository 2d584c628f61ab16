"""Products of a matrix of dense blocks with one column, or with a panel of columns.

A matrix is (indptr, indices, values, scale, rows, height, width): (rows of blocks + 1,) int32,
(blocks,) int32, values of all blocks in one line (float32, float16 as uint16 bits, or int8),
(blocks,) float32 with int8 values and empty otherwise, rows of the matrix, and the size of a block.
What blocks hold beyond the matrix is zero, and x is padded with zeros to whole blocks.

One column and 16 x 16: a block is one vector of 256 lanes, and x is repeated below itself, so a
block costs 16 fused instructions and nothing is summed across lanes before the last block.
Many columns: eight rows of a block share each row of the panel that is loaded, and their eight sums
keep the multipliers busy while each waits four cycles for itself.
"""

from typing import Any

from services.cpu_worker.simd.arithmetic import (
    fma,
    group_totals,
    mul,
    repeated,
    splat,
    total,
    width,
    zero,
)
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import (
    coded,
    index,
    load,
    load_some,
    number,
    store_some,
)
from services.cpu_worker.sparse.endings import ended, write_tile

SIDE = 16  # height and width of the blocks that `spmv_square` takes
LINE, SQUARE = Lanes(SIDE), Lanes(SIDE * SIDE)


@kernel
def spmv_square(span: Any, matrix: Any, x: Any, ending: Any, y: Any) -> None:
    """y for a span of rows of 16 x 16 blocks.

    Args:
        span: first row of blocks, and the one after the last.
        x: (columns of blocks * 16,) float32.
        y: (rows,) float32, written for the span alone.
    """
    indptr, indices, values, scale, rows, _, _ = matrix
    for down in range(span[0], span[1]):
        sums = zero(SQUARE)
        for block in range(index(indptr, down), index(indptr, down + 1)):
            held = load(LINE, x, index(indices, block) * SIDE)
            if coded(values):
                held = mul(held, splat(LINE, scale[block]))
            sums = fma(load(SQUARE, values, block * SIDE * SIDE), repeated(SQUARE, held), sums)
        first = down * SIDE
        last = min(first + SIDE, rows)
        store_some(y, first, group_totals(LINE, sums), last - first)
        for row in range(first, last):
            y[row] = ended(y[row], row, ending)


@shared
def spmv_square_shared(bounds: Any, matrix: Any, x: Any, ending: Any, y: Any) -> None:
    """`spmv_square` with one share of rows of blocks per turn."""
    for share in prange(bounds.size - 1):
        spmv_square((bounds[share], bounds[share + 1]), matrix, x, ending, y)


@kernel
def spmv(span: Any, matrix: Any, x: Any, ending: Any, y: Any) -> None:
    """y for a span of rows of blocks of any height and width; see `spmv_square`."""
    indptr, indices, values, scale, rows, height, across = matrix
    for row in range(span[0] * height, min(span[1] * height, rows)):
        down = row // height
        sums = zero(LINE)
        for block in range(index(indptr, down), index(indptr, down + 1)):
            at = (block * height + row % height) * across
            to = index(indices, block) * across
            for offset in range(0, across, SIDE):
                count = across - offset
                held = load_some(LINE, x, to + offset, count)
                if coded(values):
                    held = mul(held, splat(LINE, scale[block]))
                sums = fma(load_some(LINE, values, at + offset, count), held, sums)
        y[row] = ended(total(sums), row, ending)


@shared
def spmv_shared(bounds: Any, matrix: Any, x: Any, ending: Any, y: Any) -> None:
    """`spmv` with one share of rows of blocks per turn."""
    for share in prange(bounds.size - 1):
        spmv((bounds[share], bounds[share + 1]), matrix, x, ending, y)


@kernel
def spmm(span: Any, lanes: Any, matrix: Any, panel: Any, ending: Any, tile: Any) -> None:
    """One tile of y for a span of rows of blocks of any height and width.

    Args:
        span: first row of blocks, and the one after the last.
        lanes: columns of the panel.
        panel: (columns of blocks * width of a block * lanes,) float32.
        tile: see `endings.write_tile`.
    """
    indptr, indices, values, scale, _, height, across = matrix
    step = width(lanes)
    for down in range(span[0], span[1]):
        for top in range(0, height, 8):
            # Rows of a block; at its lower edge the last one is taken again.
            end = height - 1
            row_a, row_b = top, min(top + 1, end)
            row_c, row_d = min(top + 2, end), min(top + 3, end)
            row_e, row_f = min(top + 4, end), min(top + 5, end)
            row_g, row_h = min(top + 6, end), min(top + 7, end)
            a, b, c, d = zero(lanes), zero(lanes), zero(lanes), zero(lanes)
            e, f, g, h = zero(lanes), zero(lanes), zero(lanes), zero(lanes)
            for block in range(index(indptr, down), index(indptr, down + 1)):
                start = block * height * across
                to = index(indices, block) * across * step
                for inner in range(start, start + across):
                    held = load(lanes, panel, to)
                    to += step
                    if coded(values):
                        held = mul(held, splat(lanes, scale[block]))
                    a = fma(splat(lanes, number(values, inner + row_a * across)), held, a)
                    b = fma(splat(lanes, number(values, inner + row_b * across)), held, b)
                    c = fma(splat(lanes, number(values, inner + row_c * across)), held, c)
                    d = fma(splat(lanes, number(values, inner + row_d * across)), held, d)
                    e = fma(splat(lanes, number(values, inner + row_e * across)), held, e)
                    f = fma(splat(lanes, number(values, inner + row_f * across)), held, f)
                    g = fma(splat(lanes, number(values, inner + row_g * across)), held, g)
                    h = fma(splat(lanes, number(values, inner + row_h * across)), held, h)
            first = down * height
            _write(lanes, a, first + row_a, matrix, ending, tile)
            _write(lanes, b, first + row_b, matrix, ending, tile)
            _write(lanes, c, first + row_c, matrix, ending, tile)
            _write(lanes, d, first + row_d, matrix, ending, tile)
            _write(lanes, e, first + row_e, matrix, ending, tile)
            _write(lanes, f, first + row_f, matrix, ending, tile)
            _write(lanes, g, first + row_g, matrix, ending, tile)
            _write(lanes, h, first + row_h, matrix, ending, tile)


@kernel
def _write(lanes: Any, sums: Any, row: int, matrix: Any, ending: Any, tile: Any) -> None:
    """Write one row of a tile, unless it lies below the matrix."""
    if row < matrix[4]:
        write_tile(lanes, sums, row, ending, tile)


@shared
def spmm_shared(bounds: Any, lanes: Any, matrix: Any, panel: Any, ending: Any, tile: Any) -> None:
    """`spmm` with one share of rows of blocks per turn."""
    for share in prange(bounds.size - 1):
        spmm((bounds[share], bounds[share + 1]), lanes, matrix, panel, ending, tile)
