"""The matrices of the benchmarks: random ones with no structure, of blocks, and N of M."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse

from shared.sparse import compressed
from shared.sparse.compressed import Compressed
from shared.tensors.dtypes import F32

BLOCK = 16  # height and width of the blocks
STRUCTURES = ("uniform", "block", "nm")


@dataclass(frozen=True, slots=True)
class Problem:
    """A square product: matrices of one size and sparsity, and columns of x."""

    size: int
    sparsity: float  # share of zeros of `uniform` and `block`
    columns: int
    pattern: tuple[int, int] = (2, 4)  # of `nm`, whatever the sparsity

    @property
    def name(self) -> str:
        """As tables and results call it."""
        return f"{self.size} {self.sparsity:.0%} {self.columns}"


def write(problem: Problem, path: Path, structures: tuple[str, ...] = STRUCTURES) -> None:
    """Write the matrices as CSR, x, and each product, for every contender to read."""
    rng = np.random.default_rng([problem.size, round(1000 * problem.sparsity), problem.columns])
    x: F32 = rng.standard_normal((problem.size, problem.columns), dtype=np.float32)
    held: dict[str, np.ndarray] = {"x": x, "shape": np.array([problem.size] * 2)}
    for structure in structures:
        matrix = make(rng, problem, structure)
        held[f"{structure}.indptr"] = matrix.indptr
        held[f"{structure}.indices"] = matrix.indices.astype(np.int32)
        held[f"{structure}.values"] = matrix.data
        held[f"{structure}.y"] = matrix @ x
    np.savez(path, **held)


def make(
    rng: np.random.Generator, problem: Problem, structure: str
) -> "scipy.sparse.csr_array[np.float32]":
    """One matrix of float32, normal values, sorted rows."""
    size = problem.size
    match structure:
        case "uniform":
            kept = rng.random((size, size), dtype=np.float32) >= problem.sparsity
        case "block":
            across = -(-size // BLOCK)
            count = round((1 - problem.sparsity) * across**2)
            blocks = rng.permutation(across**2).reshape(across, across) < count
            kept = np.repeat(np.repeat(blocks, BLOCK, 0), BLOCK, 1)[:size, :size]
        case _:
            n, m = problem.pattern
            keys = rng.random((size, size // m, m), dtype=np.float32)
            kept = (keys.argsort(2).argsort(2) < n).reshape(size, size)
    values: F32 = rng.standard_normal((size, size), dtype=np.float32)
    values[~kept] = 0.0
    return scipy.sparse.csr_array(values)


def read(held: Mapping[str, np.ndarray], structure: str) -> Compressed:
    """One of the matrices that `write` wrote."""
    parts = (held[f"{structure}.{part}"] for part in ("values", "indices", "indptr"))
    matrix = scipy.sparse.csr_array(tuple(parts), shape=tuple(held["shape"]))
    return compressed.from_scipy(matrix)
