"""Products of a matrix stored row by row (CSR) with one column, or with a panel of columns.

A matrix is (indptr, indices, values): (rows + 1,) int32, (stored,) int32 or uint16, (stored,)
float32, float16 as uint16 bits, or int8. An ending is what `endings` says. Everything is trusted.

One column: 64 elements of a row at a time are loaded, widened, and multiplied with as many gathered
elements of x; the rest of the row goes through the same path under a mask. Many columns: each
stored element multiplies one whole row of the panel (see `panels`), which lies in one to two cache
lines; two sums alternate, because one alone would wait four cycles for itself.
"""

from typing import Any

from services.cpu_worker.simd.arithmetic import add, fma, splat, total, width, zero
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import (
    gather,
    gather_some,
    index,
    load,
    load_some,
    number,
)
from services.cpu_worker.sparse.endings import ended, write_tile

WIDE = Lanes(64)


@kernel
def spmv(span: Any, matrix: Any, x: Any, ending: Any, y: Any) -> None:
    """y[row] = ending(sum of values times x) for the rows of a span.

    Args:
        span: first row, and the row after the last one.
        x: (cols,) float32.
        y: (rows,) float32, written for the span alone.
    """
    indptr, indices, values = matrix
    for row in range(span[0], span[1]):
        at, end = index(indptr, row), index(indptr, row + 1)
        sums = zero(WIDE)
        while end - at >= 64:
            sums = fma(load(WIDE, values, at), gather(WIDE, x, indices, at), sums)
            at += 64
        if end > at:
            found = gather_some(WIDE, x, indices, at, end - at)
            sums = fma(load_some(WIDE, values, at, end - at), found, sums)
        y[row] = ended(total(sums), row, ending)


@shared
def spmv_shared(bounds: Any, matrix: Any, x: Any, ending: Any, y: Any) -> None:
    """`spmv` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        spmv((bounds[share], bounds[share + 1]), matrix, x, ending, y)


@kernel
def spmm(span: Any, lanes: Any, matrix: Any, panel: Any, ending: Any, tile: Any) -> None:
    """One tile of y for the rows of a span.

    Args:
        span: first row, and the row after the last one.
        lanes: columns of the panel.
        panel: (cols * lanes,) float32, one row of the panel after the other.
        tile: see `endings.write_tile`.
    """
    indptr, indices, values = matrix
    step = width(lanes)
    for row in range(span[0], span[1]):
        at, end = index(indptr, row), index(indptr, row + 1)
        even, odd = zero(lanes), zero(lanes)
        while end - at >= 2:
            held = load(lanes, panel, index(indices, at) * step)
            even = fma(splat(lanes, number(values, at)), held, even)
            held = load(lanes, panel, index(indices, at + 1) * step)
            odd = fma(splat(lanes, number(values, at + 1)), held, odd)
            at += 2
        if end > at:
            held = load(lanes, panel, index(indices, at) * step)
            even = fma(splat(lanes, number(values, at)), held, even)
        write_tile(lanes, add(even, odd), row, ending, tile)


@shared
def spmm_shared(bounds: Any, lanes: Any, matrix: Any, panel: Any, ending: Any, tile: Any) -> None:
    """`spmm` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        spmm((bounds[share], bounds[share + 1]), lanes, matrix, panel, ending, tile)
