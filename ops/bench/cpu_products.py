"""Our sparse products on the CPU; a side of `bench sparse`."""

import os
from collections.abc import Mapping
from importlib import metadata

import numpy as np

from ops.bench import contender, matrices, stream
from ops.bench.contender import Call, Work
from services.cpu_worker.sparse import simd_product
from shared.sparse import compressed, convert, narrow
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
SHORT = "csr f32 short"  # float32 values, indices of 16 bits


def prepare(case: Mapping[str, object]) -> dict[str, Work]:
    """Calls by layout and value type, and beside each the streaming loop of its bytes."""
    with np.load(str(case["file"])) as held:
        arrays = dict(held)
    works: dict[str, Work] = {}
    x = arrays["x"]
    for name, weight in _weights(arrays).items():
        compact = name != "csr f32"
        call, y = _call(weight, x, compact=compact)
        moved = float((narrow.compact(weight) if compact else weight).nbytes + x.nbytes + y.nbytes)
        works[name] = Work(call, moved, 2.0 * (weight.type.nonzeros or 0) * x.shape[1])
        works[f"stream of {name}"] = Work(stream.loop(moved, THREADS), moved)
    return works


def _weights(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    rows = compressed.to_tensor(matrices.read(arrays, "uniform"))
    block = compressed.to_tensor(matrices.read(arrays, "block"))
    blocks = convert.to_layout(block, Layout.BLOCK, block=(matrices.BLOCK, matrices.BLOCK))
    made = {"csr f32": rows, SHORT: rows}
    for dtype in (Dtype.F16, Dtype.I8):
        made[f"csr {dtype}"] = narrow.narrow(rows, dtype)
    for dtype in (Dtype.F32, Dtype.F16, Dtype.I8):
        made[f"block {dtype}"] = narrow.narrow(blocks, dtype)
    return made


def _call(weight: Tensor, x: F32, *, compact: bool) -> tuple[Call, F32]:
    """The product into one array, checked once."""
    product = simd_product.prepare(weight, threads=THREADS, compact=compact)
    y: F32 = np.empty((weight.shape[0], x.shape[1]), np.float32)
    product.multiply(x, out=y)
    expected = compressed.to_scipy(convert.to_csr(weight)) @ x
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)
    return lambda: product.multiply(x, out=y), y


def facts() -> dict[str, str]:
    """Versions of what is measured."""
    return {name: metadata.version(name) for name in ("ellesmere", "numba", "numpy")}


if __name__ == "__main__":
    contender.serve(prepare, facts)
