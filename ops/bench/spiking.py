"""Spiking networks on the CPU: ours beside SpikingJelly, Norse and snnTorch, two threads each.

``ellesmere bench spiking`` runs this; the results go to ops/bench/results/spiking.json.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console

from ops.bench import comparison, figures, rivals
from ops.bench.comparison import Case
from ops.bench.sparse import ENVIRONMENT
from ops.bench.turns import Side

RESULTS = Path(__file__).parent / "results" / "spiking.json"
PACKAGES = (
    "numpy==2.4.6",
    "torch==2.13.0",
    "norse==1.1.0",
    "snntorch==1.0.0",
    "spikingjelly==2.0.0",
)
PEER_NAMES = ("spikingjelly", "norse", "snntorch")
SIZES, STEPS, DECAY = (784, 128, 10), 100, 0.9
BATCHES, RATES = (1, 32, 256), (0.0, 0.01, 0.05, 0.1, 0.2, 0.5)
OURS = ("ours/network", "ours/network, one thread")


def run(results: Path | None, console: Console) -> dict[str, object]:
    """Measure everything and write the results."""
    python = rivals.environment("spiking", PACKAGES) / "python"
    module = "ops.bench.peers.spiking_networks"
    sides = [
        Side("ours", [sys.executable, "-m", "ops.bench.spiking_networks"], ENVIRONMENT),
        *(Side(name, [str(python), "-m", module, name], ENVIRONMENT) for name in PEER_NAMES),
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = comparison.run(sides, _cases(Path(folder)), console)
    comparison.write(found, results or RESULTS)
    return found


def _cases(folder: Path) -> Iterator[Case]:
    rng = np.random.default_rng(580)
    weights = {
        f"w{at}": (rng.standard_normal((rows, cols)) * 2 / np.sqrt(cols)).astype(np.float32)
        for at, (cols, rows) in enumerate(pairwise(SIZES))
    }
    grid = [(batch, 0.05) for batch in BATCHES] + [(32, rate) for rate in RATES if rate != 0.05]
    for batch, rate in grid:
        x = rng.uniform(0, 2 * rate, (batch, SIZES[0])).astype(np.float32)
        path = folder / f"{batch}-{rate}.npz"
        np.savez(path, x=x, **weights)
        given = {"file": str(path), "steps": STEPS, "decay": DECAY}
        yield f"{batch}, {rate:.0%}", {"kind": "spiking", **given}


def whole(found: Mapping[str, object]) -> str:
    """Times of everybody, and how many times as fast ours are."""
    cases = figures.cases(found)
    names = [*OURS, *(f"{name}/network" for name in PEER_NAMES)]
    times = [["batch, rate of inputs", *(name.replace("/network", "") for name in names)]]
    times += [[case, *(figures.micro(c, name) for name in names)] for case, c in cases.items()]
    ratios = [["batch, rate of inputs", *PEER_NAMES]]
    ratios += [
        [case, *(figures.ratio(c, f"{name}/network", OURS[0]) for name in PEER_NAMES)]
        for case, c in cases.items()
    ]
    return "\n\n".join(
        [
            "Median time of one call [µs]:",
            figures.markdown(times),
            "How many times as fast as the rival ours are, with as many threads:",
            figures.markdown(ratios),
            figures.footer(found),
        ]
    )
