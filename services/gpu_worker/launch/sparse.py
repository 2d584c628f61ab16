"""Launches of products with sparse weights."""

import pyopencl as cl

from services.gpu_worker.launch import blocks, shape
from services.gpu_worker.launch.call import Call
from services.gpu_worker.tuning import Tuning
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType


def spmm_csr(call: Call) -> None:
    """Few columns: work-items share a row. Many: each takes several columns of one row.

    A batch-first x of many rows is turned into columns first: that reads it once along memory,
    while gathering from every row of it would read a cache line per element.
    """
    cols = call.inputs["weight"].shape[1]
    turned = bool(call.attributes["batch_first"])
    n = call.inputs["x"].shape[0 if turned else 1]
    if n < call.gpu.tuning.columns_from:
        _share_rows(call, n, turned=turned)
        return
    x = call.buffer("x")
    if turned:
        columns = call.temporary(TensorType(Layout.DENSE, Dtype.F32, (cols, n)))
        shape.turn(call.gpu, x, columns, batch=1, rows=n, cols=cols)
        x = columns
    _vector_columns(call, n, x, turned=turned)


def _vector_columns(call: Call, n: int, x: cl.Buffer | None, *, turned: bool) -> None:
    rows = call.inputs["weight"].shape[0]
    vec = _widest(call.gpu.tuning, n)
    defines = {"VEC": vec} | blocks.alignment(call.gpu.tuning, n, vec)
    y_row, y_col = (1, rows) if turned else (n, 1)
    kernel = call.gpu.programs.kernel("spmm_csr", defines)
    kernel.launch(
        rows * -(-n // vec),
        *(rows, n, call.relu, y_row, y_col),
        *_matrix(call),
        x,
        call.buffer("bias"),
        call.output("y"),
    )


def _share_rows(call: Call, n: int, *, turned: bool) -> None:
    rows, cols = call.inputs["weight"].shape
    lanes = _lanes(call, rows)
    x_col, x_batch = (1, cols) if turned else (n, 1)
    y_row, y_col = (1, rows) if turned else (n, 1)
    kernel = call.gpu.programs.kernel("spmm_csr", {"COLUMNS": 0, "LANES": lanes}, "spmm_csr_rows")
    kernel.launch(
        rows * lanes,
        *(rows, call.relu, x_col, x_batch, y_row, y_col),
        *_matrix(call),
        call.buffer("x"),
        call.buffer("bias"),
        call.output("y"),
        rows=n,
    )


def _matrix(call: Call) -> tuple[cl.Buffer | None, ...]:
    """The three arrays of the weight, in the kernels' order."""
    return tuple(call.buffer("weight", part) for part in ("indptr", "indices", "values"))


def _widest(tuning: Tuning, n: int) -> int:
    """The widest load that n columns fill at least once."""
    return max(vec for vec in tuning.column_vecs if vec <= max(n, tuning.column_vecs[0]))


def _lanes(call: Call, rows: int) -> int:
    """Work-items per row: about as many as a quarter of the mean row has elements."""
    choices = call.gpu.tuning.lanes_per_row
    mean = (call.inputs["weight"].type.nonzeros or 0) / max(rows, 1)
    return next((lanes for lanes in choices if 4 * lanes >= mean), choices[-1])
