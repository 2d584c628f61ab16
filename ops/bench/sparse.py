"""Sparse products on the CPU: ours beside numpy, scipy, MKL and torch, two threads each.

``ellesmere bench sparse`` runs this; the results go to ops/bench/results/sparse.json.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from ops.bench import comparison, matrices, rivals
from ops.bench.comparison import Case
from ops.bench.matrices import Problem
from ops.bench.turns import Side

RESULTS = Path(__file__).parent / "results" / "sparse.json"
PACKAGES = ("numpy==2.4.6", "scipy==1.17.1", "mkl==2026.2.0", "torch==2.13.0")
PEER_NAMES = ("numpy", "scipy", "mkl", "torch")
THREADS = 2
SIZES, SPARSITIES, COLUMNS = (1024, 4096, 8192), (0.8, 0.9, 0.95, 0.99), (1, 8, 64)
PROBLEMS = (
    *(Problem(n, share, j) for n in SIZES for share in SPARSITIES for j in COLUMNS),
    *(Problem(4096, 0.9, j) for j in (3, 5, 33, 100, 512)),
)
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "OPENBLAS_NUM_THREADS": str(THREADS),
    "MKL_NUM_THREADS": str(THREADS),
    "NUMBA_NUM_THREADS": str(THREADS),
    # A pool may spin from one of its calls to the next, not for long beside the next rival's.
    "KMP_BLOCKTIME": "5",  # [ms]
    "GOMP_SPINCOUNT": "20000",
    "OPENBLAS_THREAD_TIMEOUT": "20",
}


def run(results: Path | None, console: Console) -> dict[str, object]:
    """Measure everything and write the results."""
    python = rivals.environment("sparse", PACKAGES) / "python"
    sides = [
        Side("ours", [sys.executable, "-m", "ops.bench.cpu_products"], ENVIRONMENT),
        *(
            Side(name, [str(python), "-m", "ops.bench.peers.sparse_products", name], ENVIRONMENT)
            for name in PEER_NAMES
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = comparison.run(sides, _cases(Path(folder)), console)
    comparison.write(found, results or RESULTS)
    return found


def _cases(folder: Path) -> Iterator[Case]:
    for problem in PROBLEMS:
        path = folder / "case.npz"
        matrices.write(problem, path, ("uniform", "block"))
        yield problem.name, {"kind": "sparse", "file": str(path)}
