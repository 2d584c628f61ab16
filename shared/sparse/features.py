"""What can be seen of a sparse matrix in linear time, and the class of matrices that it stands for.

Features rank layouts (see candidates) before anything is measured. What was measured of one matrix
holds for others of its class: sizes and density within a factor, and the same structure.
"""

from dataclasses import dataclass
from math import log2

import numpy as np

from shared.sparse import compressed, order
from shared.sparse.compressed import Compressed
from shared.sparse.order import Indices
from shared.tensors.dtypes import I32
from shared.tensors.layouts import SLICE

BLOCKS = (16, 64)  # heights and widths of the blocks that are counted
GROUPS = (4, 8)  # columns of the groups in which elements are counted
_FILLED = 0.5  # share of the places of blocks or groups, from which they shape the matrix
_BAND = 1 / 8  # of the columns: a wider band is none
_UNEVEN = 1.0  # standard deviation of row lengths by their mean
_PADDED = 1.5  # places of SELL by elements, from which a few long rows keep the others waiting
_CLUSTERED = 1.25  # fill of blocks by density, below which elements lie everywhere alike


@dataclass(frozen=True, slots=True)
class Features:
    """Sizes, counts and regularities of a matrix; values do not matter, stored zeros count."""

    rows: int
    cols: int
    nonzeros: int  # stored elements
    row_variance: float  # of the stored elements of a row
    longest: int  # stored elements of the longest row
    band: int  # largest distance of an element from the diagonal [columns]
    blocks: tuple[int, int]  # occupied blocks of each size of BLOCKS
    most: tuple[int, int]  # most elements of a group, for each width of GROUPS
    slots: int  # places of SELL, padding included

    @property
    def density(self) -> float:
        """Share of elements that are stored, 0..1."""
        return self.nonzeros / max(self.rows * self.cols, 1)

    @property
    def row_mean(self) -> float:
        """Stored elements of a row."""
        return self.nonzeros / max(self.rows, 1)

    @property
    def block_fill(self) -> tuple[float, float]:
        """Share of the places of occupied blocks that are stored, for each size of BLOCKS."""
        low, high = (
            self.nonzeros / max(count * size * size, 1)
            for count, size in zip(self.blocks, BLOCKS, strict=True)
        )
        return low, high

    @property
    def group_fill(self) -> tuple[float, float]:
        """Share of the places of N:M that are not padding, for each width of GROUPS."""
        low, high = (
            self.nonzeros / max(self.rows * -(-self.cols // width) * most, 1)
            for width, most in zip(GROUPS, self.most, strict=True)
        )
        return low, high

    @property
    def structure(self) -> str:
        """What the places of elements have in common, in one word."""
        if not self.nonzeros:
            return "empty"
        for width, most, fill in zip(GROUPS, self.most, self.group_fill, strict=True):
            if 2 * most <= width and fill >= _FILLED:
                return f"nm{most}of{width}"
        least = max(_FILLED, _CLUSTERED * self.density)
        for size, fill in reversed(list(zip(BLOCKS, self.block_fill, strict=True))):
            if fill >= least:
                return f"block{size}"
        if self.slots > _PADDED * self.nonzeros:
            return "spiked"
        if self.row_variance**0.5 > _UNEVEN * self.row_mean:
            return "uneven"
        return "banded" if self.band <= _BAND * self.cols else "uniform"


def of(matrix: Compressed) -> Features:
    """The features of a matrix, in time linear in its stored elements, rows and columns.

    Args:
        matrix: (rows, cols), any axis and value type; elements of one place count as one.

    Raises:
        ValueError: parts that do not fit (see tensors.check).
    """
    held = compressed.by_rows(matrix)
    rows, cols = held.shape
    lengths = np.diff(held.indptr).astype(np.int64)
    fine, wide = (_blocks(held, size) for size in BLOCKS)
    few, many = (_most(held, width) for width in GROUPS)
    return Features(
        rows=rows,
        cols=cols,
        nonzeros=held.nonzeros,
        row_variance=float(lengths.var()) if rows else 0.0,
        longest=int(lengths.max(initial=0)),
        band=_band(held),
        blocks=(fine, wide),
        most=(few, many),
        slots=_slots(lengths),
    )


def shape_class(features: Features, columns: int) -> str:
    """The class of a matrix and of the x that it is multiplied with; part of a cache's key.

    Sizes are rounded to powers of two, the density to half of one.

    Args:
        columns: of x.
    """
    sizes = " ".join(
        f"{name} 2^{round(log2(max(size, 1)))}"
        for name, size in (("rows", features.rows), ("cols", features.cols), ("x", columns))
    )
    share = round(2 * log2(features.density)) / 2 if features.nonzeros else 0.0
    return f"{sizes} density 2^{share:g} {features.structure}"


def _band(matrix: Compressed) -> int:
    rows, cols = matrix.shape
    if not matrix.nonzeros:
        return 0
    diagonal = np.arange(rows, dtype=np.int64) * cols // rows
    return int(np.abs(matrix.indices - np.repeat(diagonal, np.diff(matrix.indptr))).max())


def _blocks(matrix: Compressed, size: int) -> int:
    """Blocks of `size` by `size` that hold an element; see block.pack for the order."""
    rows, cols = matrix.shape
    down, across = -(-rows // size), -(-cols // size)
    coarse = matrix.indptr[np.minimum(np.arange(down + 1) * size, rows)]
    _, block_rows, moved = order.grouped(coarse, matrix.indices // size, across)
    places = (matrix.indices // size)[moved]  # rising, and block rows rise within each
    return int(_runs(block_rows, places).size)


def _most(matrix: Compressed, width: int) -> int:
    """The most elements of a row in `width` neighbouring columns, a multiple of it onwards."""
    starts = _runs(order.lines(matrix.indptr), matrix.indices // width)
    return int(np.diff(np.append(starts, matrix.nonzeros)).max(initial=0))


def _runs(first: I32, second: Indices) -> order.I64:
    """Where a pair differs from the one before it."""
    changed = np.ones(first.size, dtype=np.bool_)
    changed[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return np.flatnonzero(changed)


def _slots(lengths: order.I64) -> int:
    """Places of SELL when rows are sorted by length: each slice is as wide as its longest row."""
    counts = np.bincount(lengths, minlength=1)  # counting sort
    longest_first = np.repeat(np.arange(counts.size)[::-1], counts[::-1])
    return SLICE * int(longest_first[::SLICE].sum())
