"""Quantized weights by compiled kernels: what they read of a weight, and which one a batch gets."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.cpu_worker.integer import groups, nibbles, octets, panels, unpacked
from services.cpu_worker.integer.panels import line
from services.cpu_worker.integer.weight import Grouped, Summing
from services.cpu_worker.simd import compiled
from services.cpu_worker.sparse import shares
from shared.quantization import affine
from shared.tensors.dtypes import F32, I8, I32, Array
from shared.tensors.layouts import Layout, Tensor

FEW = 4  # rows of x for which nibbles are read as they are; for more they are unpacked once
SOME = 48  # rows of x for which BLAS is not worth its own copies
LARGE = np.float32(1e36)  # sums of eight beyond it may overflow where the product does not
OFFSET = 128  # what the bytes of a panel are larger by
SIGNS, PLAIN = np.int32(-0x77777778), np.int32(0)  # the upper bit of every nibble of a word; none
NO_ZERO = line(np.empty(0, dtype=np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Octets(Summing):
    """int8 codes with a scale per row; see `weight.Summing`."""

    matrix: tuple[Any, int, int]  # what `octets` reads
    scale: F32  # (rows,)
    totals: I32  # (rows,)
    stream: "Stream"  # the same codes, for many rows of x
    bounds: shares.I64

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        if x.shape[0] > SOME:
            return self.stream.multiply(x)
        pair = (octets.floats, octets.floats_shared)
        made: F32 = self._run(pair, panels.floats, x, np.float32)
        made *= self.scale
        return made

    def sums(self, x: I8) -> I32:
        """See `weight.Summing`."""
        made: I32 = self._run((octets.sums, octets.sums_shared), panels.octets, x, np.int32)
        made -= self.totals * np.int32(OFFSET)
        return made

    def _run(self, pair: Any, packed: Any, x: Array, dtype: Any) -> Any:
        n, rows = x.shape[0], self.matrix[1]
        high = panels.side(n)
        made = np.empty((-(-n // high) * high, rows), dtype=dtype)
        panel, y = packed(x, high), made.reshape(-1)
        compiled.run(*pair, self.bounds, high, self.matrix, panel, y)
        return made[:n]


@dataclass(frozen=True, slots=True, eq=False)
class Stream(Grouped):
    """Codes of 2 to 8 bits in groups of any size; see `weight.Grouped`."""

    matrix: tuple[Any, ...]  # what `unpacked` reads
    bounds: shares.I64

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        pair = (unpacked.floats, unpacked.floats_shared)
        return _by_blas(pair, self.bounds, self.matrix, x)

    def multiply_octets(self, x: I8) -> F32:
        """See `weight.Grouped`."""
        return self.multiply(x.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Groups(Grouped):
    """Codes of a byte with a scale and a zero per group; see `weight.Grouped`."""

    matrix: tuple[Any, ...]  # what `groups` reads
    stream: Stream  # the same codes, for many rows of x
    bounds: shares.I64

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        if x.shape[0] > SOME:
            return self.stream.multiply(x)
        made: F32 = np.empty((x.shape[0], self.matrix[3]), dtype=np.float32)
        pair = (groups.floats, groups.floats_shared)
        compiled.run(*pair, self.bounds, self.matrix, line(x), made.reshape(-1))
        return made

    def multiply_octets(self, x: I8) -> F32:
        """See `weight.Grouped`."""
        return self.multiply(x.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Nibbles(Grouped):
    """Codes of four bits whose groups are multiples of 32 columns; see `weight.Grouped`."""

    matrix: tuple[Any, ...]  # what `nibbles` reads
    stream: Stream  # the same codes, for many rows of x
    bounds: shares.I64

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        n, rows = x.shape[0], self.matrix[3]
        if n > SOME:
            return self.stream.multiply(x)
        if n <= FEW:
            planes = panels.planes(x)
            if np.abs(planes[1]).max(initial=0.0) < LARGE:  # neither NaN nor infinity
                made: F32 = np.empty((n, rows), dtype=np.float32)
                pair = (nibbles.floats, nibbles.floats_shared)
                compiled.run(*pair, self.bounds, self.matrix, planes, made.reshape(-1))
                return made
        wide: F32 = np.empty((-(-n // 4) * 4, rows), dtype=np.float32)
        panel, y = panels.floats(panels.by_place(x), 4), wide.reshape(-1)
        compiled.run(nibbles.some, nibbles.some_shared, self.bounds, self.matrix, panel, y)
        return wide[:n]

    def multiply_octets(self, x: I8) -> F32:
        """See `weight.Grouped`."""
        if self.matrix[2].size:  # the kernel knows 8 for zero alone
            return self.stream.multiply_octets(x)
        n, high = x.shape[0], panels.side(x.shape[0])
        made: F32 = np.empty((-(-n // high) * high, self.matrix[3]), dtype=np.float32)
        panel, y = panels.halves(x, high), made.reshape(-1)
        pair = (nibbles.octets, nibbles.octets_shared)
        compiled.run(*pair, self.bounds, high, self.matrix, panel, y)
        return made[:n]


def prepare(tensor: Tensor, *, threads: int = 1) -> Octets | Groups | Nibbles | Stream:
    """Prepare a weight of a layout with codes; its arrays are shared, not copied, where they fit.

    Args:
        tensor: INT8_CHANNEL, INT4_GROUP or INT_GROUP; its parts are trusted (see tensors.check).
        threads: that share a product.
    """
    bounds = shares.even(tensor.shape[0], threads)
    if tensor.layout is Layout.INT8_CHANNEL:
        return _of_rows_of_octets(tensor, bounds)
    return _of_groups(tensor, bounds)


def _by_blas(pair: Any, bounds: shares.I64, matrix: Any, x: F32) -> F32:
    """A product by a kernel that unpacks: (n, rows) float32, column-major.

    Args:
        x: (n, columns) float32.
    """
    y: F32 = np.empty((bounds[-1], x.shape[0]), dtype=np.float32)
    compiled.run(*pair, bounds, matrix, np.ascontiguousarray(x).T, y)
    return y.T


def _of_rows_of_octets(tensor: Tensor, bounds: shares.I64) -> Octets:
    rows, cols = tensor.shape
    codes = tensor.parts["codes"].view(np.int8)
    totals: I32 = codes.sum(axis=1, dtype=np.int32)
    scale: F32 = tensor.parts["scale"].view(np.float32).reshape(-1)
    zero = line(np.full(rows, OFFSET, dtype=np.uint8))
    held = (line(codes.view(np.uint8)), line(scale), zero, rows, cols, 8, np.int32(OFFSET))
    return Octets((line(codes), rows, cols), scale, totals, Stream(held, bounds), bounds)


def _of_groups(tensor: Tensor, bounds: shares.I64) -> Groups | Nibbles | Stream:
    rows, cols = tensor.shape
    signed = tensor.layout is Layout.INT4_GROUP
    bits = 4 if signed else int(tensor.parts["bits"][0])
    codes = line(tensor.parts["codes"].view(np.uint8))
    scale = _of_rows(tensor.parts["scale"].view(np.float32), rows)
    zero = np.uint8(8) if signed else tensor.parts["zero"].view(np.uint8)
    group = cols // max(scale.shape[1], 1)
    flip = np.int32(8 if signed else 0)
    zero = np.broadcast_to(zero, scale.shape)
    zeros = line(zero)
    stream = Stream((codes, line(scale), zeros, rows, cols, bits, flip), bounds)
    if bits > 4 and cols:
        return Groups(_of_bytes(tensor, scale, zero), stream, bounds)
    if bits != 4 or not cols or group % 32:
        return stream
    blocks = line(_of_blocks(scale, cols))
    zeros = NO_ZERO if signed else line(_of_blocks(zero, cols))
    held = (codes, blocks, zeros, rows, cols, SIGNS if signed else PLAIN)
    return Nibbles(held, stream, bounds)


def _of_bytes(tensor: Tensor, scale: F32, zero: Array) -> tuple[Any, ...]:
    """What `groups` reads: every code as a byte with a sign, less 128 where it has eight bits."""
    moved = 128 if int(tensor.parts["bits"][0]) == 8 else 0
    codes = (affine.unsigned(tensor) - np.uint8(moved)).view(np.int8)
    taken: F32 = np.float32(moved) - zero.astype(np.float32)
    return (line(codes), line(scale), line(taken), *tensor.shape)


def _of_rows(values: Array, rows: int) -> Any:
    """Numbers for every row, where one row of them may stand for all."""
    return np.broadcast_to(values, (rows, values.shape[1]))


def _of_blocks(values: Array, cols: int) -> Array:
    """Numbers per group as one or four per block of 128 columns, filled up with zeros.

    Args:
        values: (rows, groups); a group is 32 columns or a multiple of them.
    """
    group = cols // values.shape[1]
    if group % panels.BLOCK == 0:
        return np.repeat(values, group // panels.BLOCK, axis=1)
    spread = np.repeat(values, group // 32, axis=1)
    return np.pad(spread, ((0, 0), (0, -spread.shape[1] % 4)))
