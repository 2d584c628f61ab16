"""Products of float32 rows with codes of a byte, a scale and a zero per group of columns.

A matrix is (codes, scale, taken, rows, cols): (rows * cols,) int8 in one line; for every group of
every row float32 scales, and what is added to its codes before they are multiplied: so nothing
large cancels. Codes become float32 once for four rows of x.
"""

from typing import Any

from services.cpu_worker.simd.arithmetic import add, fma, splat, total, width, zero
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, load_some, number

LINE = Lanes(16)
CHUNK = 2**18  # bytes of codes, an eighth of a second-level cache


@kernel
def floats(span: Any, matrix: Any, x: Any, y: Any) -> None:
    """y[j, row] = the sum over columns of (code + taken) scale times x, in float32.

    Args:
        span: first row of the matrix, and the row after the last one.
        matrix: see above.
        x: (n * cols,) float32.
        y: (n * rows,) float32, one row of x after the other; written for the span.
    """
    rows, cols = matrix[3], matrix[4]
    n = y.size // rows
    chunk = max(CHUNK // max(cols, 1), 1)
    for start in range(span[0], span[1], chunk):
        end = min(start + chunk, span[1])
        for j in range(0, n - 3, 4):
            for row in range(start, end):
                _four(row, matrix, x, j, y)
        for j in range(n // 4 * 4, n):
            for row in range(start, end):
                y[j * rows + row] = _one(row, matrix, x, j * cols)


@kernel
def _one(row: int, matrix: Any, x: Any, first: int) -> Any:
    """One row of the matrix times the row of x that begins at `first`."""
    codes, scale, taken, rows, cols = matrix
    groups = scale.size // rows
    group, step = cols // groups, width(LINE)
    sums = zero(LINE)
    for g in range(row * groups, row * groups + groups):
        at, end = (g - row * groups) * group, (g - row * groups + 1) * group
        part, more = zero(LINE), splat(LINE, number(taken, g))
        while end - at >= step:
            held = add(load(LINE, codes, row * cols + at), more)
            part = fma(held, load(LINE, x, first + at), part)
            at += step
        if end > at:
            held = add(load_some(LINE, codes, row * cols + at, end - at), more)
            part = fma(held, load_some(LINE, x, first + at, end - at), part)
        sums = fma(splat(LINE, number(scale, g)), part, sums)
    return total(sums)


@kernel
def _four(row: int, matrix: Any, x: Any, j: int, y: Any) -> None:
    """`_one` for four rows of x, from the j-th on."""
    codes, scale, taken, rows, cols = matrix
    groups = scale.size // rows
    group, step = cols // groups, width(LINE)
    x_a, x_b, x_c, x_d = j * cols, (j + 1) * cols, (j + 2) * cols, (j + 3) * cols
    sum_a, sum_b, sum_c, sum_d = zero(LINE), zero(LINE), zero(LINE), zero(LINE)
    for g in range(row * groups, row * groups + groups):
        at, end = (g - row * groups) * group, (g - row * groups + 1) * group
        a, b, c, d = zero(LINE), zero(LINE), zero(LINE), zero(LINE)
        more, factor = splat(LINE, number(taken, g)), splat(LINE, number(scale, g))
        while end - at >= step:
            held = add(load(LINE, codes, row * cols + at), more)
            a, b = fma(held, load(LINE, x, x_a + at), a), fma(held, load(LINE, x, x_b + at), b)
            c, d = fma(held, load(LINE, x, x_c + at), c), fma(held, load(LINE, x, x_d + at), d)
            at += step
        if end > at:
            n = end - at
            held = add(load_some(LINE, codes, row * cols + at, n), more)
            a = fma(held, load_some(LINE, x, x_a + at, n), a)
            b = fma(held, load_some(LINE, x, x_b + at, n), b)
            c = fma(held, load_some(LINE, x, x_c + at, n), c)
            d = fma(held, load_some(LINE, x, x_d + at, n), d)
        sum_a, sum_b = fma(factor, a, sum_a), fma(factor, b, sum_b)
        sum_c, sum_d = fma(factor, c, sum_c), fma(factor, d, sum_d)
    y[j * rows + row], y[(j + 1) * rows + row] = total(sum_a), total(sum_b)
    y[(j + 2) * rows + row], y[(j + 3) * rows + row] = total(sum_c), total(sum_d)


@shared
def floats_shared(bounds: Any, matrix: Any, x: Any, y: Any) -> None:
    """`floats` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        floats((bounds[share], bounds[share + 1]), matrix, x, y)
