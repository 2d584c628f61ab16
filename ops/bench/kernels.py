"""OpenCL products on one device: ours beside obvious kernels, CLBlast and ViennaCL.

``ellesmere bench kernels`` runs this; the results go to ops/bench/results/kernels-<device>.json.
Figures of PoCL are figures of a CPU; none is one of a card.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from ops.bench import comparison, matrices
from ops.bench.comparison import Case
from ops.bench.matrices import Problem
from ops.bench.peers import viennacl_products
from ops.bench.turns import ROOT, Side

RESULTS = Path(__file__).parent / "results"
BUILT = ROOT / ".bench/viennacl"
SPARSE = tuple(
    Problem(size, share, columns)
    for size, share in ((1024, 0.9), (4096, 0.9), (4096, 0.99))
    for columns in (1, 8, 64)
)
DENSE = (
    *((rows, 1024, 1024) for rows in (1, 8, 64, 256)),
    *((rows, 4096, 4096) for rows in (1, 64)),
)
LIMIT_ELEMENTS = 2**26  # a copy of 512 MiB, past every cache
POCL = "Portable Computing Language"


def run(
    results: Path | None, console: Console, *, platform: str = POCL, icd: Path | None = None
) -> dict[str, object]:
    """Measure everything and write the results.

    Args:
        platform: part of the OpenCL platform's name.
        icd: the driver's library, or a file that names it, for ViennaCL, which takes the first
            platform that it sees; None is PoCL's, as it comes with pyopencl.
    """
    sides = [Side("opencl", [sys.executable, "-m", "ops.bench.opencl_products", platform], {})]
    if viennacl_products.HEADER.exists():
        seen = {"OCL_ICD_VENDORS": str(icd or pocl())}
        command = [sys.executable, "-m", "ops.bench.peers.viennacl_products", str(BUILT)]
        sides.append(Side("viennacl", command, seen))
    else:
        console.print("ViennaCL is not installed (Debian: libviennacl-dev); it is left out")
    with tempfile.TemporaryDirectory() as folder:
        found = comparison.run(sides, _cases(Path(folder)), console)
    comparison.write(found, results or RESULTS / "kernels-pocl.json")
    return found


def pocl() -> Path:
    """PoCL's library inside the package pyopencl."""
    from importlib.util import find_spec

    spec = find_spec("pyopencl")
    assert spec is not None
    assert spec.origin is not None
    (found,) = (Path(spec.origin).parent / ".libs").glob("libpocl-*.so")
    return found


def _cases(folder: Path) -> Iterator[Case]:
    yield "limits", {"kind": "limits", "elements": LIMIT_ELEMENTS}
    for problem in SPARSE:
        path = folder / "case.npz"
        matrices.write(problem, path)
        yield f"sparse {problem.name}", {"kind": "sparse", "file": str(path)}
    for rows, outputs, inputs in DENSE:
        case = {"kind": "dense", "rows": rows, "outputs": outputs, "inputs": inputs}
        yield f"dense {rows} {outputs} {inputs}", case
