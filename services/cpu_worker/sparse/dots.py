"""Sampled products (SDDMM): the dot product of two dense rows for every place of a pattern."""

from typing import Any

from services.cpu_worker.simd.arithmetic import fma, total, zero
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import index, load, load_some

WIDE = Lanes(64)


@kernel
def sddmm(span: Any, pattern: Any, a: Any, b: Any, k: int, values: Any) -> None:
    """values[e] = a[row(e)] · b[column(e)] for the rows of a span.

    Args:
        span: first row, and the row after the last one.
        pattern: (indptr, indices), (rows + 1,) int32 and (stored,) int32 or uint16.
        a, b: (rows * k,) and (cols * k,) float32.
        k: terms of a dot product.
        values: (stored,) float32, written for the span alone.
    """
    indptr, indices = pattern
    for row in range(span[0], span[1]):
        for at in range(index(indptr, row), index(indptr, row + 1)):
            of_a, of_b = row * k, index(indices, at) * k
            sums, done = zero(WIDE), 0
            while k - done >= 64:
                sums = fma(load(WIDE, a, of_a + done), load(WIDE, b, of_b + done), sums)
                done += 64
            if k > done:
                rest = load_some(WIDE, b, of_b + done, k - done)
                sums = fma(load_some(WIDE, a, of_a + done, k - done), rest, sums)
            values[at] = total(sums)


@shared
def sddmm_shared(bounds: Any, pattern: Any, a: Any, b: Any, k: int, values: Any) -> None:
    """`sddmm` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        sddmm((bounds[share], bounds[share + 1]), pattern, a, b, k, values)
