"""Every compiled kernel once, on small weights, beside scipy.

That compiles what is not compiled yet, and says before the first job whether this machine computes
what it should.
"""

from collections.abc import Iterator

import numpy as np

from services.cpu_worker.sparse import scipy_product, simd_product
from shared.sparse import compressed, convert, narrow, order
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor

ROWS, COLUMNS = 37, 150  # longer than one vector, and no multiple of it
BATCHES = (1, 5, 12, 40)  # one column, and a panel of each width
VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)
RTOL, ATOL = 1e-4, 1e-4


class WrongAnswer(RuntimeError):
    """A compiled kernel and scipy disagree; the kernels are not to be used on this machine."""

    def __init__(self, weight: Tensor, columns: int, error: float) -> None:
        kind = f"{weight.layout} {weight.dtype} {weight.shape}"
        super().__init__(f"{kind} times {columns} columns is off by {error:.3g}")


def verify(threads: int) -> None:
    """Compile and compare every kernel.

    Args:
        threads: as many as products will be shared by; one and several are different code.

    Raises:
        WrongAnswer: a result is not scipy's.
    """
    rng = np.random.default_rng(7)
    for weight, compact in _weights(rng):
        made = simd_product.prepare(weight, threads=threads, compact=compact)
        wanted = scipy_product.prepare(weight)
        bias: F32 = rng.standard_normal(weight.shape[0], dtype=np.float32)
        for columns in BATCHES:
            x: F32 = rng.standard_normal((weight.shape[1], columns), dtype=np.float32)
            found = made.multiply(x, bias=bias, relu=True)
            _require(weight, columns, found, wanted.multiply(x, bias=bias, relu=True))
        if weight.layout is Layout.CSR:
            _sample(rng, weight, threads)


def _weights(rng: np.random.Generator) -> Iterator[tuple[Tensor, bool]]:
    """A weight for every compiled form, and whether its column numbers are stored in 16 bits."""
    values: F32 = rng.standard_normal((ROWS, COLUMNS), dtype=np.float32)
    values[rng.random(values.shape) < 0.4] = 0
    held = compressed.to_tensor(compressed.compress(values))
    forms = [convert.to_layout(held, Layout.BLOCK, block=block) for block in ((16, 16), (5, 3))]
    for dtype in VALUES:
        for weight in (held, *forms):
            yield narrow.narrow(weight, dtype), True
        yield narrow.narrow(held, dtype), False


def _sample(rng: np.random.Generator, pattern: Tensor, threads: int) -> None:
    rows, cols = pattern.shape
    a: F32 = rng.standard_normal((rows, COLUMNS), dtype=np.float32)
    b: F32 = rng.standard_normal((cols, COLUMNS), dtype=np.float32)
    lines = order.lines(pattern.parts["indptr"].view(np.int32))
    wanted = np.einsum("ij,ij->i", a[lines], b[pattern.parts["indices"].astype(np.int64)])
    for indices in (np.uint16, np.int32):
        parts = {**pattern.parts, "indices": pattern.parts["indices"].astype(indices)}
        held = Tensor(pattern.layout, pattern.dtype, pattern.shape, parts)
        _require(held, COLUMNS, simd_product.sample(held, a, b, threads=threads), wanted)


def _require(weight: Tensor, columns: int, found: F32, wanted: F32) -> None:
    if not np.allclose(found, wanted, rtol=RTOL, atol=ATOL):
        raise WrongAnswer(weight, columns, float(np.abs(found - wanted).max()))
