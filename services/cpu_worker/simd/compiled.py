"""How kernels are compiled: once, into the cache folder, to run without the interpreter's lock.

No fast-math: a kernel that meets NaN or infinity must answer as numpy does. Vectors are fused and
reordered by what the kernel says, see `arithmetic`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

prange = numba.prange


def kernel(function: Kernel) -> Kernel:
    """Compile a function that runs on the calling thread; indices are trusted."""
    made: Kernel = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return made


def shared(function: Kernel) -> Kernel:
    """Compile a function whose `prange` is shared among threads; see `engine` for how many."""
    options = {"nogil": True, "cache": True, "error_model": "numpy"}
    made: Kernel = numba.njit(parallel=True, **options)(function)
    return made


def run(alone: Callable[..., None], together: Callable[..., None], bounds: Any, *rest: Any) -> None:
    """Run a kernel over all rows: on this thread, or on one thread per share.

    Args:
        alone: a `kernel` that takes (first row, row after the last one) and the rest.
        together: its `shared` form, which takes the bounds and the rest.
        bounds: (shares + 1,) int64, see `sparse.shares`.
        rest: further arguments of both.
    """
    if bounds.size == 2:
        alone((int(bounds[0]), int(bounds[1])), *rest)
        return
    numba.set_num_threads(min(bounds.size - 1, numba.config.NUMBA_NUM_THREADS))
    together(bounds, *rest)
