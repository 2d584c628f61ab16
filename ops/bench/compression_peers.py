"""Quantized networks beside those of other tools: accuracy, bytes and time of the same network.

``python -m ops.bench.compression_peers`` trains classifiers of scikit-learn's digits, lets every
tool quantize them, and writes results/compression-peers.json and the page made from it. Each side
writes the scores of all held-out rows; accuracy is counted here, for all in the same way.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from ops.bench import comparison, figures, rivals
from ops.bench.comparison import Case
from ops.bench.sparse import ENVIRONMENT
from ops.bench.turns import ROOT, Side
from ops.demo import digits, mlp

RESULTS = Path(__file__).parent / "results" / "compression-peers.json"
PAGE = ROOT / "ops/docs/compression-peers.md"
PACKAGES = (
    "numpy==2.4.6",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "torch==2.13.0",
    "torchao==0.18.0",
)
PEER_NAMES = ("onnxruntime", "torchao")
HIDDEN, BATCHES = (1024, 2048), (1, 32)
HEAD = (
    "# Quantized networks beside other tools\n\n"
    "`python -m ops.bench.compression_peers`: 64-n-n-10 classifiers of scikit-learn's digits, the "
    "same float32 weights for every tool, two threads each, in turns within one run; calls go into "
    "each library directly, without a server. Tools that calibrate see the 1,437 training scans; "
    "accuracy is on 360 held-out ones, where one row is 0.28 points. Bytes are those of the "
    "weights in memory (ours, torchao) or of the model file (ONNX Runtime)."
)


def main() -> None:
    """Measure, write, and print the page."""
    python = rivals.environment("compression", PACKAGES) / "python"
    module = "ops.bench.peers.compressed_networks"
    sides = [
        Side("ours", [sys.executable, "-m", "ops.bench.compressed_networks"], ENVIRONMENT),
        *(Side(name, [str(python), "-m", module, name], ENVIRONMENT) for name in PEER_NAMES),
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = comparison.run(sides, _cases(Path(folder)), Console(stderr=True))
        _score(found, Path(folder))
    comparison.write(found, RESULTS)
    PAGE.write_text(whole())


def whole() -> str:
    """The page, made from the committed results."""
    found = json.loads(RESULTS.read_text())
    rows = [["network, batch", "variant", "accuracy [%]", "KiB", "median [µs]", "÷ float32"]]
    for case, calls in found["cases"].items():
        for name, held in calls.items():
            side = name.split("/")[0]
            base = calls[f"{side}/float32"]["seconds"]
            rows.append([case, name, *_cells(held, base)])
    facts = found["machine"]
    sides = "; ".join(
        ", ".join(f"{name} {version}" for name, version in held.items())
        for held in found["sides"].values()
    )
    return (
        f"{HEAD}\n\n{figures.markdown(rows)}\n\n"
        "`÷ float32` is the time over that of the same library's float32. "
        f"{facts['cpu']}, {facts['cores']} cores, commit {facts['commit']}, {facts['date']}; "
        f"{sides}. Raw samples: [ops/bench/results/compression-peers.json]"
        "(../../ops/bench/results/compression-peers.json). A test compares this page with them.\n"
    )


def _cells(held: Mapping[str, float | None], base: float | None) -> list[str]:
    accuracy, size, seconds = held["accuracy"], held["moved"], held["seconds"]
    assert accuracy is not None
    assert size is not None
    if seconds is None or base is None:
        return [f"{100 * accuracy:.2f}", f"{size / 1024:,.0f}", "–", "–"]
    return [
        f"{100 * accuracy:.2f}",
        f"{size / 1024:,.0f}",
        f"{1e6 * seconds:.0f}",
        f"{seconds / base:.2f}",
    ]


def _cases(folder: Path) -> Iterator[Case]:
    data = digits.load()
    for hidden in HIDDEN:
        plan = digits.Training(sizes=(64, hidden, hidden, 10), epochs=10, penalty=0.0)
        layers = digits.train(data, plan)
        arrays = {f"w{at}": layer.weight for at, layer in enumerate(layers)}
        arrays |= {f"b{at}": layer.bias for at, layer in enumerate(layers)}
        path = folder / f"{hidden}.npz"
        np.savez(path, **arrays, x=data.x, held_x=data.held_x, held_labels=data.held_labels)
        (folder / f"{hidden}.onnx").write_bytes(mlp.to_onnx(layers))
        for batch in BATCHES:
            name = f"64-{hidden}-{hidden}-10, {batch}"
            scores = folder / name.replace(", ", "-")
            scores.mkdir()
            given = {"file": str(path), "onnx": str(folder / f"{hidden}.onnx"), "batch": batch}
            yield name, {"kind": "network", "scores": str(scores), **given}


def _score(found: Mapping[str, object], folder: Path) -> None:
    """Add the accuracy of every call from the scores that its side wrote."""
    cases = found["cases"]
    assert isinstance(cases, Mapping)
    labels = np.load(folder / f"{HIDDEN[0]}.npz")["held_labels"]
    for case, calls in cases.items():
        for name, held in calls.items():
            side, call = name.split("/")
            path = folder / str(case).replace(", ", "-") / f"{side}.{call}.npy"
            held["accuracy"] = float((np.load(path).argmax(axis=1) == labels).mean())


if __name__ == "__main__":
    main()
