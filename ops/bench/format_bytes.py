"""Bytes of every sparse layout, as the table of ops/docs/formats.md.

``python -m ops.bench.format_bytes`` prints it. Nothing is timed: bytes are the same on every
machine, so the page is tested against this output.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from shared.sparse import convert, narrow
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor

SIZE = 4096
DENSE_BYTES = SIZE * SIZE * 4
SPARSITIES = (0.80, 0.90, 0.95, 0.98)
PATTERNS = ((2, 4), (1, 4), (2, 8), (1, 8), (2, 16), (1, 16))
BLOCKS = ((16, 16), (64, 64), (8, 32))
VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)
# Values and indices of layouts that have indices.
FORMS = ((Dtype.F32, Dtype.I32), *((values, Dtype.U16) for values in VALUES))


@dataclass(frozen=True, slots=True)
class Row:
    """One layout with one way to store values and indices."""

    name: str
    values: Dtype
    indices: Dtype | None
    nbytes: tuple[int, ...]  # for each of SPARSITIES [bytes]

    @property
    def factors(self) -> tuple[float, ...]:
        """How many times smaller than dense float32."""
        return tuple(DENSE_BYTES / nbytes for nbytes in self.nbytes)


@cache
def rows() -> tuple[Row, ...]:
    """Every layout on a random matrix, then BLOCK on matrices of random blocks."""
    scattered = [_csr(_kept((SIZE, SIZE), sparsity)) for sparsity in SPARSITIES]
    found = []
    for layout in (Layout.CSR, Layout.CSC, Layout.SELL, Layout.BITMASK):
        held = [convert.to_layout(matrix, layout) for matrix in scattered]
        found += _rows(str(layout), held)
    for block in BLOCKS:
        name = f"block {block[0]}×{block[1]}"
        matrices = (_csr(_blocks(block, sparsity)) for sparsity in SPARSITIES)
        held = [convert.to_layout(matrix, Layout.BLOCK, block=block) for matrix in matrices]
        found += _rows(f"{name}, random blocks", held)
    everywhere = [convert.to_layout(matrix, Layout.BLOCK) for matrix in scattered]
    return (*found, next(_rows("block 16×16, random elements", everywhere)))


def patterns() -> Iterator[tuple[tuple[int, int], tuple[int, ...]]]:
    """N:M patterns and their bytes with each of VALUES; rows are alike, so one is packed."""
    for n, m in PATTERNS:
        row = np.zeros((1, SIZE), np.float32)
        row[0, np.arange(SIZE) % m < n] = 1
        packed = convert.to_layout(layouts.dense(row), Layout.NM, pattern=(n, m))
        fixed = packed.parts["pattern"].nbytes
        held = (narrow.narrow(packed, dtype).nbytes - fixed for dtype in VALUES)
        yield (n, m), tuple(nbytes * SIZE + fixed for nbytes in held)


def markdown() -> str:
    """Both tables as they stand in the page."""
    heads = [f"{sparsity:.0%} zeros".replace("%", " %") for sparsity in SPARSITIES]
    lines = [
        f"| layout | values | indices | {' | '.join(heads)} |",
        "| --- | --- | --- |" + " ---: |" * len(heads),
    ]
    for row in rows():
        cells = " | ".join(_cell(nbytes) for nbytes in row.nbytes)
        lines.append(f"| {row.name} | {row.values} | {row.indices or '–'} | {cells} |")
    lines += ["", "| N:M | zeros | f32 | f16 | i8 |", "| --- |" + " ---: |" * 4]
    for (n, m), held in patterns():
        cells = " | ".join(_cell(nbytes) for nbytes in held)
        lines.append(f"| {n}:{m} | {100 * (1 - n / m):g} % | {cells} |")
    return "\n".join(lines)


def _rows(name: str, held: list[Tensor]) -> Iterator[Row]:
    indexed = "indices" in held[0].parts
    for values, indices in FORMS if indexed else [(values, None) for values in VALUES]:
        stored = [narrow.narrow(tensor, values) for tensor in held]
        if indices is Dtype.U16:
            stored = [narrow.compact(tensor) for tensor in stored]
        yield Row(name, values, indices, tuple(tensor.nbytes for tensor in stored))


def _cell(nbytes: int) -> str:
    return f"{nbytes:,} ({DENSE_BYTES / nbytes:.2f}×)"


def _kept(shape: tuple[int, int], sparsity: float) -> np.ndarray:
    """A mask that keeps exactly the share of places that is not sparsity, drawn without order."""
    scores = np.random.default_rng(0).random(shape)
    count = round(scores.size * (1 - sparsity))
    return scores <= np.partition(scores, count - 1, axis=None)[count - 1]


def _blocks(block: tuple[int, int], sparsity: float) -> np.ndarray:
    """The same of whole blocks."""
    height, width = block
    kept = _kept((SIZE // height, SIZE // width), sparsity)
    return np.repeat(np.repeat(kept, height, axis=0), width, axis=1)


def _csr(kept: np.ndarray) -> Tensor:
    return convert.to_layout(layouts.dense(kept.astype(np.float32)), Layout.CSR)


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
