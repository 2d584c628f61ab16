"""Products by compiled kernels: a weight in the form that they read, and what they are called with.

Everything that a kernel reads is passed as a read-only, aligned line, whatever the caller's
array is: the type of an argument chooses the compiled code, and there should be one of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.cpu_worker.simd import compiled
from services.cpu_worker.sparse import blocks, dots, panels, product, rows, shares, stored
from services.cpu_worker.sparse.stored import NONE
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Layout, Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SimdProduct:
    """A weight as rows of elements, or of blocks; see `product.Product`."""

    shape: tuple[int, int]
    matrix: tuple[Any, ...]  # what the kernels of `rows` or of `blocks` read
    bounds: shares.I64  # which rows, or rows of blocks, each thread takes
    padded: int  # columns that the kernels read, those of the matrix and zeros
    row_scale: F32
    column_scale: F32
    one: tuple[Callable[..., None], Callable[..., None]]  # for one column: alone, shared
    many: tuple[Callable[..., None], Callable[..., None]]  # for a panel: alone, shared

    def multiply(
        self, x: F32, *, bias: F32 | None = None, relu: bool = False, out: F32 | None = None
    ) -> F32:
        """See `product.Product`."""
        y = product.result(self.shape, x, bias, out)
        ending = (self.row_scale, NONE_READ if bias is None else _line(bias), relu)
        n = x.shape[1]
        if n == 1:
            compiled.run(*self.one, self.bounds, self.matrix, self._column(x), ending, _flat(y))
            return y
        for tile in panels.tiles(n):
            panel = self._panel(x, tile)
            column, count, width = tile
            place = (_flat(y), n, column, count)
            lanes = panels.LANES[width]
            compiled.run(*self.many, self.bounds, lanes, self.matrix, panel, ending, place)
        return y

    def _column(self, x: F32) -> Any:
        """x as a line, times the scale of the columns, padded with zeros; a view if it may be."""
        line = x.reshape(-1)
        if self.column_scale.size:
            line = line * self.column_scale
        if self.padded > line.size:
            line = np.concatenate([line, np.zeros(self.padded - line.size, dtype=np.float32)])
        return _line(line)

    def _panel(self, x: F32, tile: tuple[int, int, int]) -> F32:
        """Some columns of x in the form that kernels read; see `panels.pack`."""
        column, count, width = tile
        cols = self.shape[1]
        panel = panels.room(self.padded, width)
        panel[cols * width :] = 0
        source = (_line(x.T), 1, cols) if x.flags.f_contiguous else (_line(x), x.shape[1], 1)
        bounds = shares.even(cols, self.bounds.size - 1)
        lanes, part = panels.LANES[width], (column, count)
        pair = (panels.pack, panels.pack_shared)
        compiled.run(*pair, bounds, lanes, source, part, self.column_scale, panel)
        return panel


def prepare(tensor: Tensor, *, threads: int = 1, compact: bool = True) -> SimdProduct:
    """Prepare a weight of any sparse layout.

    Args:
        tensor: its parts are trusted (see tensors.check).
        threads: that share a product; 1 is the calling thread.
        compact: whether column numbers become 16 bits wide where they fit.
    """
    if tensor.layout is Layout.BLOCK:
        return _of_blocks(stored.blocks(tensor), threads)
    return _of_rows(stored.rows(tensor, compact=compact), threads)


def sample(tensor: Tensor, a: F32, b: F32, *, threads: int = 1) -> F32:
    """The dot products of rows of a and b at the places of a pattern.

    Args:
        tensor: (rows, cols) CSR, whose values are not read.
        a: (rows, k) float32.
        b: (cols, k) float32.
        threads: that share the work.

    Returns:
        (nonzeros,) float32, in the order of the pattern.
    """
    indptr, indices = _line(tensor.parts["indptr"]), _line(tensor.parts["indices"])
    values = np.empty(indices.size, dtype=np.float32)
    bounds = shares.of(indptr, threads)
    pair = (dots.sddmm, dots.sddmm_shared)
    compiled.run(*pair, bounds, (indptr, indices), _line(a), _line(b), a.shape[1], values)
    return values


def _of_rows(held: stored.Rows, threads: int) -> SimdProduct:
    return SimdProduct(
        held.shape,
        (_line(held.indptr), _line(held.indices), _line(held.values)),
        shares.of(held.indptr, threads),
        held.shape[1],
        _line(held.row_scale),
        _line(held.column_scale),
        (rows.spmv, rows.spmv_shared),
        (rows.spmm, rows.spmm_shared),
    )


def _of_blocks(held: stored.Blocks, threads: int) -> SimdProduct:
    parts = (held.indptr, held.indices, held.values, held.scale)
    square = held.block == (blocks.SIDE, blocks.SIDE)
    return SimdProduct(
        held.shape,
        (*(_line(part) for part in parts), held.shape[0], *held.block),
        shares.of(held.indptr, threads),
        held.padded,
        NONE_READ,
        NONE_READ,
        (blocks.spmv_square, blocks.spmv_square_shared)
        if square
        else (blocks.spmv, blocks.spmv_shared),
        (blocks.spmm, blocks.spmm_shared),
    )


def _line(array: Array) -> Any:
    """An array as one read-only, aligned line in row order; a view where it may be one."""
    line = np.require(array, requirements=["C", "A"]).reshape(-1).view()
    line.flags.writeable = False
    return line


def _flat(y: F32) -> F32:
    """A row-major array as one line to write to."""
    return y.reshape(-1)


NONE_READ = _line(NONE)
