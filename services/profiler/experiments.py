"""The measuring jobs: which operator on which tensors tells which property of a device."""

from dataclasses import dataclass

import numpy as np

from shared.contracts.v1.jobs import OperatorBody
from shared.operators.spec import Tensors
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor

COPY_ELEMENTS = 4 * 2**20  # 16 MiB of f32: more than the caches that a core has to itself
TINY_ELEMENTS = 64  # one wavefront: what remains of the time is the launch
GEMM_ROWS, GEMM_SIZE = 256, 1024
SPMM_SIZE, SPMM_COLUMNS, SPMM_DENSITY = 2048, 64, 0.1


@dataclass(frozen=True, slots=True)
class Experiment:
    """One measuring job. `flops` and `moved` are those of one timed call; see operators' costs."""

    name: str
    body: OperatorBody
    tensors: Tensors
    flops: float = 0.0
    moved: float = 0.0  # [bytes] read and written by the call
    upload: float = 0.0  # [bytes] of all inputs
    download: float = 0.0  # [bytes] of all outputs


def plan(rng: np.random.Generator) -> tuple[Experiment, ...]:
    """Everything a device profile rests on, the shortest first."""
    return launch(rng), copy(rng), gemm(rng), spmm(rng)


def launch(rng: np.random.Generator) -> Experiment:
    """A copy so small that only its launch takes time."""
    x = _dense(rng, TINY_ELEMENTS)
    return Experiment("launch", OperatorBody(operator="copy", repeat=200), {"x": x})


def copy(rng: np.random.Generator) -> Experiment:
    """A large copy: memory bandwidth, and both directions of the link to the device."""
    x = _dense(rng, COPY_ELEMENTS)
    return Experiment(
        "copy",
        OperatorBody(operator="copy", repeat=20),
        {"x": x},
        moved=2.0 * x.nbytes,
        upload=float(x.nbytes),
        download=float(x.nbytes),
    )


def gemm(rng: np.random.Generator) -> Experiment:
    """A dense product whose operands fit no small cache and whose flops outweigh its bytes."""
    x, weight = _dense(rng, GEMM_ROWS, GEMM_SIZE), _dense(rng, GEMM_SIZE, GEMM_SIZE)
    flops = 2.0 * GEMM_ROWS * GEMM_SIZE * GEMM_SIZE
    body = OperatorBody(operator="gemm_f32", repeat=10)
    return Experiment("gemm", body, {"x": x, "weight": weight}, flops=flops)


def spmm(rng: np.random.Generator) -> Experiment:
    """A product with a matrix of random zeros; the flops are those on stored values."""
    per_row = round(SPMM_SIZE * SPMM_DENSITY)
    weight = _random_csr(rng, SPMM_SIZE, SPMM_SIZE, per_row)
    x = _dense(rng, SPMM_SIZE, SPMM_COLUMNS)
    flops = 2.0 * SPMM_SIZE * per_row * SPMM_COLUMNS
    body = OperatorBody(operator="spmm_csr", repeat=10)
    return Experiment("spmm", body, {"weight": weight, "x": x}, flops=flops)


def _dense(rng: np.random.Generator, *shape: int) -> Tensor:
    return layouts.dense(rng.standard_normal(shape, dtype=np.float32))


def _random_csr(rng: np.random.Generator, rows: int, cols: int, per_row: int) -> Tensor:
    """(rows, cols) f32 CSR with `per_row` sorted random columns in every row."""
    keys = rng.random((rows, cols), dtype=np.float32)
    columns = np.sort(np.argpartition(keys, per_row, axis=1)[:, :per_row], axis=1)
    parts = {
        "indptr": np.arange(0, rows * per_row + 1, per_row, dtype=np.int32),
        "indices": columns.astype(np.int32).reshape(-1),
        "values": rng.standard_normal(rows * per_row, dtype=np.float32),
    }
    return Tensor(Layout.CSR, Dtype.F32, (rows, cols), parts)
