"""Who multiplies sparse and quantized weights: compiled kernels, or scipy and BLAS and the reason
why; and, for batches of bytes, ONNX Runtime where a trial says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from services.cpu_worker import kernel_cache
from services.cpu_worker.integer import choice, onnx_model, plain_weight, recoding
from services.cpu_worker.integer.choice import ByDigits, Trials
from services.cpu_worker.integer.weight import Grouped, Quantized, Summing
from services.cpu_worker.sparse import scipy_product
from services.cpu_worker.sparse.product import Product
from shared.operators import int4, static
from shared.operators.attributes import whole
from shared.operators.spec import Attributes
from shared.tensors.dtypes import F32, I8, I32
from shared.tensors.layouts import SPARSE, Layout, Tensor


@dataclass(frozen=True, slots=True)
class Engine:
    """How products with packed weights are computed in this process; made by `start`."""

    threads: int = 1
    reason: str | None = "not asked for"  # why there are no compiled kernels; None where there are
    trials: Trials = field(default_factory=lambda: Trials(absent="not asked for"))

    @property
    def compiled(self) -> bool:
        """Whether compiled kernels compute."""
        return self.reason is None

    def prepare(self, tensor: Tensor) -> Product | Quantized | None:
        """A packed weight, ready for products; None for a layout that has none.

        Args:
            tensor: its parts are trusted (see tensors.check).
        """
        if tensor.layout in SPARSE:
            return self.sparse(tensor)
        return self.quantized(tensor) if tensor.layout in QUANTIZED else None

    def sparse(self, tensor: Tensor) -> Product:
        """A sparse weight, ready for products; see `prepare`."""
        if not self.compiled:
            return scipy_product.prepare(tensor)
        from services.cpu_worker.sparse import simd_product  # late: numba may be absent

        return simd_product.prepare(tensor, threads=self.threads)

    def quantized(self, tensor: Tensor) -> Quantized:
        """A weight of integer codes, ready for products; see `prepare`."""
        tensor = recoding.recoded(tensor)
        if not self.compiled:
            return self._choosing(plain_weight.prepare(tensor), tensor, None)
        from services.cpu_worker.integer import digits, simd_weight
        from services.cpu_worker.simd import integers

        by_digits = digits.multiply if integers.available() else None
        return self._choosing(simd_weight.prepare(tensor, threads=self.threads), tensor, by_digits)

    def _choosing(
        self, made: Summing | Grouped, tensor: Tensor, by_digits: ByDigits | None
    ) -> Quantized:
        """A weight whose batches go to whoever is faster."""
        if isinstance(made, Summing):
            return choice.octets(made, tensor, self.trials, by_digits)
        return choice.nibbles(made, tensor, self.trials)

    def rounded(self, x: F32) -> tuple[I8, F32]:
        """Rows as bytes and a scale each; see `operators.int4.rounded`."""
        if not self.compiled:
            return int4.rounded(x)
        from services.cpu_worker.integer import panels

        return panels.rounded(x)

    def finished(self, sums: I32, scale: F32, attributes: Attributes) -> F32 | I8:
        """What `gemm_q8` makes of its sums; see `operators.static.finished`."""
        if not self.compiled or attributes["to"] != "i8":
            return static.finished(sums, scale, attributes)
        from services.cpu_worker.integer import requantizing

        factor: F32 = scale * static.multiplier(attributes)
        relu, zero = attributes["activation"] == "relu", whole(attributes, "y_zero")
        return requantizing.to_bytes(sums, factor, relu=relu, zero=zero)

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
        ours = f"no compiled kernels: {self.reason}"
        if self.compiled:
            ours = f"numba {metadata.version('numba')}"
        if self.trials.absent is not None:
            return f"{ours}, {self.trials.absent}"
        return f"{ours}, onnxruntime {metadata.version('onnxruntime')}"


QUANTIZED = (Layout.INT8_CHANNEL, Layout.INT4_GROUP, Layout.INT_GROUP)
SCIPY = Engine()


def start(cache: Path, *, threads: int = 1, compiled: bool = True) -> Engine:
    """Make compiled kernels ready, or say why there are none. Blocks; minutes when nothing is kept.

    Args:
        cache: folder for compiled kernels; it may be read-only.
        threads: that share one product, 1 or more.
        compiled: False leaves everything to scipy, BLAS and ONNX Runtime.
    """
    trials = Trials(threads, None if onnx_model.present() else "no onnxruntime")
    if not compiled:
        return Engine(threads, "switched off", trials)
    try:
        kept = kernel_cache.folder(cache)
        kernel_cache.ensure(kept, threads)
        load(str(kept), threads)
    except (ImportError, OSError, RuntimeError) as error:
        return Engine(threads, f"{error}", trials)
    return Engine(threads, None, trials)


def load(folder: str, threads: int, families: Sequence[str] = kernel_cache.FAMILIES) -> None:
    """Bring every kernel into this process and compare it with scipy.

    Args:
        folder: compiled kernels; what is missing there is compiled and kept.
        threads: that share one product.
        families: whose kernels, by the names of their packages.

    Raises:
        ImportError: numba is absent or does not fit numpy.
        RuntimeError: it cannot compile or cache, or a kernel is wrong.
    """
    kernel_cache.use(folder)
    from services.cpu_worker.integer import known_answers as of_integers
    from services.cpu_worker.sparse import known_answers as of_sparse
    from services.cpu_worker.spiking import known_answers as of_spikes

    known = {"sparse": of_sparse, "spiking": of_spikes, "integer": of_integers}
    for family in families:
        known[family].verify(threads)
