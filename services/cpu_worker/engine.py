"""Who multiplies sparse weights: compiled kernels, or scipy and the reason why."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from services.cpu_worker import kernel_cache
from services.cpu_worker.sparse import scipy_product
from services.cpu_worker.sparse.product import Product
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

OPENMP = "omp"  # numba's other layers are slower to start, and one kills a process of two callers


@dataclass(frozen=True, slots=True)
class Engine:
    """How sparse products are computed in this process; made by `start`."""

    threads: int = 1
    reason: str | None = "not asked for"  # why there are no compiled kernels; None where there are

    @property
    def compiled(self) -> bool:
        """Whether compiled kernels compute."""
        return self.reason is None

    def prepare(self, tensor: Tensor) -> Product:
        """A sparse weight, ready for products.

        Args:
            tensor: its parts are trusted (see tensors.check).
        """
        if not self.compiled:
            return scipy_product.prepare(tensor)
        from services.cpu_worker.sparse import simd_product  # late: numba may be absent

        return simd_product.prepare(tensor, threads=self.threads)

    def sample(self, pattern: Tensor, a: F32, b: F32) -> F32:
        """(nonzeros,) float32: a[row] · b[column] at the places of a pattern; see `simd_product`.

        Raises:
            RuntimeError: there are no compiled kernels.
        """
        if not self.compiled:
            raise RuntimeError(f"no compiled kernels: {self.reason}")
        from services.cpu_worker.sparse import simd_product

        return simd_product.sample(pattern, a, b, threads=self.threads)

    @property
    def libraries(self) -> str:
        """What computes, for the worker's card."""
        if not self.compiled:
            return f"no compiled kernels: {self.reason}"
        return f"numba {metadata.version('numba')}"


SCIPY = Engine()


def start(cache: Path, *, threads: int = 1, compiled: bool = True) -> Engine:
    """Make compiled kernels ready, or say why there are none. Blocks; minutes when nothing is kept.

    Args:
        cache: folder for compiled kernels; it may be read-only.
        threads: that share one product, 1 or more.
        compiled: False leaves everything to scipy.
    """
    if not compiled:
        return Engine(threads, "switched off")
    try:
        kept = kernel_cache.folder(cache)
        kernel_cache.ensure(kept, threads)
        load(str(kept), threads)
    except (ImportError, OSError, RuntimeError) as error:
        return Engine(threads, f"{error}")
    return Engine(threads, None)


def load(folder: str, threads: int) -> None:
    """Bring every kernel into this process and compare it with scipy.

    Args:
        folder: compiled kernels; what is missing there is compiled and kept.
        threads: that share one product.

    Raises:
        ImportError: numba is absent or does not fit numpy.
        RuntimeError: it cannot compile or cache, or a kernel is wrong.
    """
    import numba

    numba.config.CACHE_DIR = folder  # read when kernels are imported
    numba.config.THREADING_LAYER = OPENMP
    from services.cpu_worker.sparse import known_answers

    known_answers.verify(threads)
