"""Products with quantized weights on the CPU: ours beside numpy, ONNX Runtime and torch.

``ellesmere bench quantized`` runs this; the results go to ops/bench/results/quantized.json.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from ops.bench import comparison, rivals
from ops.bench.comparison import Case
from ops.bench.sparse import ENVIRONMENT
from ops.bench.turns import Side

RESULTS = Path(__file__).parent / "results" / "quantized.json"
PACKAGES = ("numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0", "torch==2.13.0")
PEER_NAMES = ("numpy", "onnxruntime", "torch")
SIZES, ROWS = (1024, 4096, 8192), (1, 8, 64)


def run(results: Path | None, console: Console) -> dict[str, object]:
    """Measure everything and write the results."""
    python = rivals.environment("quantized", PACKAGES) / "python"
    sides = [
        Side("ours", [sys.executable, "-m", "ops.bench.quantized_products"], ENVIRONMENT),
        *(
            Side(name, [str(python), "-m", "ops.bench.peers.quantized_products", name], ENVIRONMENT)
            for name in PEER_NAMES
        ),
    ]
    found = comparison.run(sides, _cases(), console)
    comparison.write(found, results or RESULTS)
    return found


def _cases() -> Iterator[Case]:
    for size in SIZES:
        for rows in ROWS:
            yield f"{size} {rows}", {"kind": "quantized", "size": size, "rows": rows}
