"""Products of sparse and dense matrices in numpy, scipy, MKL or torch; sides of `bench sparse`.

Runs in a virtual environment of its own that has these libraries, a process for each: the idle
threads of one would slow another. MKL is driven through its
inspector-executor interface: the handle is made, hinted and optimised once, before any timing.
"""

import ctypes
import os
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import scipy.sparse

from ops.bench import contender
from ops.bench.contender import Call, Work

NON_TRANSPOSE, GENERAL, ROW_MAJOR, ZERO_BASED, MANY_CALLS = 10, 20, 101, 0, 100_000


class Description(ctypes.Structure):
    """`struct matrix_descr` of mkl_spblas.h."""

    _fields_ = [("type", ctypes.c_int), ("mode", ctypes.c_int), ("diag", ctypes.c_int)]


class MklCsr:
    """A float32 CSR matrix in MKL; the arrays are kept alive with it."""

    def __init__(self, library: ctypes.CDLL, matrix: scipy.sparse.csr_array, columns: int) -> None:
        self._library, self._columns = library, columns
        self._rows, self._cols = matrix.shape
        self._parts = (matrix.indptr.astype("i4"), matrix.indices.astype("i4"), matrix.data)
        self._handle, self._kind = ctypes.c_void_p(), Description(GENERAL, 0, 0)
        indptr, indices, values = (part.ctypes.data_as(ctypes.c_void_p) for part in self._parts)
        ends = ctypes.c_void_p(self._parts[0].ctypes.data + 4)
        self._check(
            library.mkl_sparse_s_create_csr(
                *(ctypes.byref(self._handle), ZERO_BASED, self._rows, self._cols),
                *(indptr, ends, indices, values),
            )
        )
        self._hint()
        self._check(library.mkl_sparse_optimize(self._handle))

    def multiply(self, x: np.ndarray, y: np.ndarray) -> None:
        """y = A x for x (cols,) or (cols, columns), row-major."""
        one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
        left, right = (a.ctypes.data_as(ctypes.c_void_p) for a in (x, y))
        if self._columns == 1:
            self._check(
                self._library.mkl_sparse_s_mv(
                    NON_TRANSPOSE, one, self._handle, self._kind, left, zero, right
                )
            )
            return
        self._check(
            self._library.mkl_sparse_s_mm(
                *(NON_TRANSPOSE, one, self._handle, self._kind, ROW_MAJOR, left),
                *(self._columns, self._columns, zero, right, self._columns),
            )
        )

    def _hint(self) -> None:
        if self._columns == 1:
            self._check(
                self._library.mkl_sparse_set_mv_hint(
                    self._handle, NON_TRANSPOSE, self._kind, MANY_CALLS
                )
            )
        else:
            self._check(
                self._library.mkl_sparse_set_mm_hint(
                    *(self._handle, NON_TRANSPOSE, self._kind, ROW_MAJOR),
                    *(self._columns, MANY_CALLS),
                )
            )

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(f"MKL answers with status {status}")

    def __del__(self) -> None:
        self._library.mkl_sparse_destroy(self._handle)


def prepare(library: str, case: Mapping[str, object]) -> dict[str, Work]:
    """Calls of one library for the matrices in a file."""
    with np.load(str(case["file"])) as held:
        matrix, blocks = _read(held, "uniform"), _read(held, "block")
        x, expected = held["x"], {"uniform": held["uniform.y"], "block": held["block.y"]}
    columns = x.shape[1]
    flat = x[:, 0].copy() if columns == 1 else x
    calls: dict[str, Call] = {}
    match library:
        case "numpy":
            whole = matrix.toarray()
            calls["dense"] = lambda: whole @ flat
        case "scipy":
            calls["csr"] = lambda: matrix @ flat
        case "mkl":
            calls["csr"] = _mkl_call(matrix, flat, columns, expected["uniform"])
            calls["csr of blocks"] = _mkl_call(blocks, flat, columns, expected["block"])
        case "torch":
            calls["csr"] = _torch(matrix, flat)
    return {name: Work(call) for name, call in calls.items()}


def _read(held: Mapping[str, np.ndarray], structure: str) -> scipy.sparse.csr_array:
    parts = tuple(held[f"{structure}.{part}"] for part in ("values", "indices", "indptr"))
    return scipy.sparse.csr_array(parts, shape=tuple(held["shape"]))


def _mkl_call(
    matrix: scipy.sparse.csr_array, x: np.ndarray, columns: int, expected: np.ndarray
) -> Call:
    handle, y = MklCsr(_mkl(), matrix, columns), np.empty_like(expected)
    handle.multiply(x, y)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)
    return lambda: handle.multiply(x, y)


def _torch(matrix: scipy.sparse.csr_array, x: np.ndarray) -> Call:
    import torch

    warnings.filterwarnings(
        "ignore", category=UserWarning
    )  # CSR is beta there; it is what there is
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    parts = (matrix.indptr.astype("i4"), matrix.indices.astype("i4"), matrix.data)
    held = torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=matrix.shape)
    dense = torch.from_numpy(x)
    return lambda: held @ dense


def _mkl() -> ctypes.CDLL:
    """The library of the package `mkl`, which lies in the environment's own folder."""
    (found,) = Path(sys.prefix, "lib").glob("libmkl_rt.so*")
    return ctypes.CDLL(str(found))


if __name__ == "__main__":
    wanted = sys.argv[1]
    contender.serve(partial(prepare, wanted), lambda: {wanted: metadata.version(wanted)})
