"""Our products with quantized weights, and the loops that read as many bytes; a side of `bench
quantized`. Every call is one operator of the CPU backend, as a worker runs it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import threadpoolctl

from ops.bench import contender, stream, weights
from ops.bench.contender import Work
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis import compute
from shared.operators import catalog
from shared.operators.spec import Attributes
from shared.quantization import affine, scheme
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.layouts import Tensor, dense

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
CACHE = Path.home() / ".cache" / "ellesmere"


@dataclass(frozen=True, slots=True)
class Product:
    """One operator on one kind of x and of weight."""

    operator: str
    x: str
    weight: str
    attributes: Attributes


STATIC: Attributes = {"x_scale": 1 / 32}  # of `weights.octets`
CALLS = {
    "gemm_i8": Product("gemm_i8", "f32", "i8", {}),
    "gemm_i8 x 8": Product("gemm_i8", "f32", "i8", {"x_bits": 8}),
    "gemm_q8": Product("gemm_q8", "i8", "i8", STATIC),
    "gemm_int 3 bits": Product("gemm_int", "f32", "i3", {}),
    "gemm_i4": Product("gemm_i4", "f32", "i4", {}),
    "gemm_i4 x 8": Product("gemm_i4", "f32", "i4", {"x_bits": 8}),
}


class Ours:
    """The backend of a worker, and the weights of the last size."""

    def __init__(self) -> None:
        self._engine = engine.start(CACHE, threads=THREADS)
        threadpoolctl.threadpool_limits(compute.BLAS_THREADS)
        self._backend = CpuBackend(self._engine)
        self._size, self._held = 0, dict[str, Tensor]()

    def prepare(self, case: Mapping[str, object]) -> dict[str, Work]:
        """Calls by operator and bits of x, and beside each the streaming loop of its bytes."""
        held = self._weights(weights.number(case, "size"))
        x = {"f32": dense(weights.x(case)), "i8": dense(weights.octets(case))}
        calls = {
            name: self._work(call.operator, x[call.x], held[call.weight], call.attributes)
            for name, call in CALLS.items()
        }
        loops = {
            f"stream of {name}": Work(stream.loop(work.moved, THREADS), work.moved)
            for name, work in calls.items()
        }
        return calls | loops

    def facts(self) -> dict[str, object]:
        """Versions of what is measured, and threads."""
        about = {name: metadata.version(name) for name in ("ellesmere", "numba", "onnxruntime")}
        return {**about, "threads": THREADS}

    def _weights(self, size: int) -> dict[str, Tensor]:
        if self._size != size:
            values = weights.values(size)
            self._held = {
                "i8": affine.quantize(values, INT8_PER_CHANNEL),
                "i4": affine.quantize(values, scheme.of(4, weights.GROUP)),
                "i3": affine.quantize(values, scheme.of(3, weights.GROUP, symmetric=False)),
            }
            self._size = size
        return self._held

    def _work(self, operator: str, x: Tensor, weight: Tensor, attributes: Attributes) -> Work:
        """One call, checked once against float64."""
        spec = catalog.spec(operator)
        held = {"x": self._backend.upload(x), "weight": self._backend.upload(weight)}
        types = {name: tensor.type for name, tensor in held.items()}
        call = self._backend.prepare(spec, types, attributes)
        found = self._backend.download(call(held)["y"]).values
        _require(operator, found, x, weight, attributes)
        moved = weight.nbytes + x.nbytes + found.nbytes
        flops = 2.0 * weight.shape[0] * weight.shape[1] * x.shape[0]
        return Work(lambda: call(held), float(moved), flops)


def _require(
    operator: str, found: np.ndarray, x: Tensor, weight: Tensor, attributes: Attributes
) -> None:
    """Rows of x that were rounded are off by their rounding: half a step in each of the columns."""
    scale = float(attributes.get("x_scale", 1.0))  # type: ignore[arg-type]  # a number
    wanted = (x.values.astype(np.float32) * np.float32(scale)) @ affine.dequantize(weight).T
    atol = 0.1 if attributes.get("x_bits") == 8 else 1e-3
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=atol, err_msg=operator)


if __name__ == "__main__":
    ours = Ours()
    contender.serve(ours.prepare, ours.facts)
