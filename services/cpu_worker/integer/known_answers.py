"""Every compiled kernel of quantized weights once, on small ones, beside BLAS.

That compiles what is not compiled yet, and says before the first job whether this machine computes
what it should.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from services.cpu_worker.integer import digits, panels, plain_weight, requantizing, simd_weight
from services.cpu_worker.integer.weight import Grouped, Summing
from shared.operators import int4, static
from shared.operators.spec import Attributes
from shared.quantization import affine, scheme
from shared.quantization.scheme import INT8_PER_CHANNEL, int4_per_group
from shared.tensors.dtypes import F32, I8, I32
from shared.tensors.layouts import Tensor

Numbers = npt.NDArray[np.float32 | np.int32]
ROWS = 21  # no multiple of what kernels take at a time
BATCHES = (1, 5, 49)  # a tile of one row, tiles of four, and what is unpacked for BLAS
RTOL, ATOL = 1e-4, 1e-4


class WrongAnswer(RuntimeError):
    """A compiled kernel and BLAS disagree; the kernels are not to be used on this machine."""

    def __init__(self, weight: Tensor, rows: int, error: float) -> None:
        kind = f"{weight.layout} {weight.shape}"
        super().__init__(f"{rows} rows times {kind} is off by {error:.3g}")


def verify(threads: int) -> None:
    """Compile and compare every kernel.

    Args:
        threads: as many as products will be shared by; one and several are different code.

    Raises:
        WrongAnswer: a result is not that of BLAS.
    """
    rng = np.random.default_rng(7)
    for weight in _weights(rng):
        made = simd_weight.prepare(weight, threads=threads)
        wanted = plain_weight.prepare(weight)
        for n in BATCHES:
            x: F32 = rng.standard_normal((n, weight.shape[1]), dtype=np.float32)
            octets: I8 = rng.integers(-128, 128, x.shape, dtype=np.int8)
            _require(weight, made.multiply(x), wanted.multiply(x))
            if isinstance(made, Summing) and isinstance(wanted, Summing):
                _require(weight, made.sums(octets), wanted.sums(octets))
                found = digits.multiply(made, x)
                _require(weight, made.multiply(x) if found is None else found, wanted.multiply(x))
            if isinstance(made, Grouped) and isinstance(wanted, Grouped):
                _require(weight, made.multiply_octets(octets), wanted.multiply_octets(octets))
    _round(rng)


def _round(rng: np.random.Generator) -> None:
    x: F32 = rng.standard_normal((3, 100), dtype=np.float32)
    x[1, 7] = np.nan
    octets, scale = panels.rounded(x)
    wanted, wanted_scale = int4.rounded(x)
    if not (np.array_equal(octets, wanted) and np.array_equal(scale, wanted_scale, True)):
        raise RuntimeError("rows are not rounded to bytes as they should be")
    sums: I32 = rng.integers(-9000, 9000, (3, 70), dtype=np.int32)
    factor: F32 = rng.uniform(0.01, 0.02, 70).astype(np.float32)
    made = requantizing.to_bytes(sums, factor, relu=True, zero=-5)
    given: Attributes = {"activation": "relu", "to": "i8", "x_scale": 1.0, "y_scale": 1.0}
    if not np.array_equal(made, static.finished(sums, factor, {**given, "y_zero": -5})):
        raise RuntimeError("sums are not rounded to bytes as they should be")


def _weights(rng: np.random.Generator) -> Iterator[Tensor]:
    """Rows longer than a step and no multiple of it; groups that fit blocks and that do not."""
    yield affine.quantize(_values(rng, 300), INT8_PER_CHANNEL)
    for cols, group in ((160, 32), (256, 128), (75, 75)):
        yield affine.quantize(_values(rng, cols), int4_per_group(group))
        yield affine.quantize(_values(rng, cols), scheme.of(4, group, symmetric=False))
    yield affine.quantize(_values(rng, 300), scheme.of(5, 100, symmetric=False))
    yield affine.quantize(_values(rng, 300), scheme.of(8, "tensor"))


def _values(rng: np.random.Generator, cols: int) -> F32:
    values: F32 = rng.standard_normal((ROWS, cols), dtype=np.float32)
    return values / np.float32(np.sqrt(cols))


def _require(weight: Tensor, found: Numbers, wanted: Numbers) -> None:
    if not np.allclose(found, wanted, rtol=RTOL, atol=ATOL):
        error = np.abs(found.astype(np.float64) - wanted).max()
        raise WrongAnswer(weight, found.shape[0], float(error))
