"""A loop that reads memory and does next to nothing: the limit that a product's bytes meet."""

from typing import Any

import numpy as np

from ops.bench.contender import Call
from services.cpu_worker.simd import compiled
from services.cpu_worker.simd.arithmetic import add, total, zero
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load
from services.cpu_worker.sparse import shares

WIDE = Lanes(64)
STEP = 64  # floats of one load


@kernel
def read(span: Any, values: Any, sums: Any) -> None:
    """Add up values[64 * first:64 * last]; the sum is written so that nothing can be left out."""
    held = zero(WIDE)
    for at in range(span[0], span[1]):
        held = add(load(WIDE, values, 64 * at), held)
    sums[span[0]] = total(held)


@shared
def read_shared(bounds: Any, values: Any, sums: Any) -> None:
    """`read` with one share per turn."""
    for share in prange(bounds.size - 1):
        read((bounds[share], bounds[share + 1]), values, sums)


def loop(nbytes: float, threads: int) -> Call:
    """A call that reads `nbytes` (rounded up to 256) on some threads."""
    steps = max(-(-int(nbytes) // (4 * STEP)), threads)
    values = np.ones(steps * STEP, np.float32)
    bounds, sums = shares.even(steps, threads), np.empty(steps, np.float32)
    return lambda: compiled.run(read, read_shared, bounds, values, sums)
