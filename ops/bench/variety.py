"""Sixty matrices of every structure that a choice of layout should tell apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import numpy.typing as npt

from shared.sparse import compressed
from shared.sparse.compressed import Compressed
from shared.tensors.dtypes import F32

Mask = npt.NDArray[np.bool_]
SHAPES = ((1024, 1024), (2048, 512), (512, 2048))
THIN = (0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)


@dataclass(frozen=True, slots=True)
class Sample:
    """One matrix, as a recipe."""

    structure: str
    rows: int
    cols: int
    density: float  # aimed at
    seed: int

    @property
    def name(self) -> str:
        """As results call it."""
        return f"{self.structure} {self.rows}x{self.cols} {self.density:g}"


def samples() -> tuple[Sample, ...]:
    """All of them, in the order in which they are measured."""
    shapes = cycle(SHAPES)
    return tuple(
        Sample(structure, *next(shapes), density, seed)
        for seed, (structure, density) in enumerate(_kinds())
    )


def make(sample: Sample) -> Compressed:
    """The matrix: normal values at the places of its structure, canonical CSR."""
    rng = np.random.default_rng([580, sample.seed])
    kept = _STRUCTURES[sample.structure](rng, sample.rows, sample.cols, sample.density)
    values: F32 = rng.standard_normal((sample.rows, sample.cols), dtype=np.float32)
    values[~kept] = 0.0
    return compressed.compress(values)


def _kinds() -> Iterator[tuple[str, float]]:
    yield from (("uniform", density) for density in (1.0, 0.8, 0.5, *THIN))
    for structure in ("banded", "power_law", "empty_rows", "one_dense_row"):
        yield from ((structure, density) for density in THIN)
    yield from (("block16", density) for density in (0.5, 0.3, 0.2, 0.1, 0.05, 0.02))
    yield from (("block64", density) for density in (0.3, 0.1, 0.05))
    yield from (("1:4", density) for density in (0.25, 0.25, 0.25, 0.2))
    yield from (("2:4", density) for density in (0.5, 0.5, 0.5, 0.4))


def _uniform(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
    return rng.random((rows, cols)) < density


def _banded(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
    """All of a band around the diagonal whose width gives the density."""
    distance = np.arange(cols) - np.arange(rows)[:, np.newaxis] * cols / rows
    return np.abs(distance) <= density * cols / 2


def _power_law(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
    """Rows whose lengths follow a Pareto law: most are short, a few are long."""
    lengths = rng.pareto(1.5, rows) + 0.1
    share = np.minimum(lengths / lengths.mean() * density, 1.0)
    return rng.random((rows, cols)) < share[:, np.newaxis]


def _empty_rows(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
    """Three of four rows store nothing."""
    filled = rng.random(rows) < 0.25
    return (rng.random((rows, cols)) < min(4 * density, 1.0)) & filled[:, np.newaxis]


def _one_dense_row(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
    kept = rng.random((rows, cols)) < density
    kept[rows // 3] = True
    return kept


def _blocks(size: int) -> Callable[[np.random.Generator, int, int, float], Mask]:
    def mask(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
        blocks = rng.random((-(-rows // size), -(-cols // size))) < density
        return np.repeat(np.repeat(blocks, size, 0), size, 1)[:rows, :cols]

    return mask


def _groups(n: int) -> Callable[[np.random.Generator, int, int, float], Mask]:
    """At most n of every four columns."""

    def mask(rng: np.random.Generator, rows: int, cols: int, density: float) -> Mask:
        order = rng.random((rows, cols // 4, 4)).argsort(axis=2).reshape(rows, cols)
        return (order < n) & (rng.random((rows, cols)) < density * 4 / n)

    return mask


_STRUCTURES: dict[str, Callable[[np.random.Generator, int, int, float], Mask]] = {
    "uniform": _uniform,
    "banded": _banded,
    "power_law": _power_law,
    "empty_rows": _empty_rows,
    "one_dense_row": _one_dense_row,
    "block16": _blocks(16),
    "block64": _blocks(64),
    "1:4": _groups(1),
    "2:4": _groups(2),
}
