"""What spiking networks reach on digits over ten seeds: trained by surrogate slopes, and converted.

``python -m ops.bench.spiking_digits`` trains classifiers of scikit-learn's digits on the CPU
backend and writes results/spiking-digits.json, the page made from it and its picture. One setting
for all seeds.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import threadpoolctl

from ops.bench import (
    digits_networks,
    faithful_table,
    figures,
    machine,
    quiet_digits,
    spiking_classifiers,
)
from ops.bench.figures import shown
from ops.demo import digits
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis import compute
from shared.chassis.settings import CpuSettings
from shared.network import conversion, observing
from shared.network.training import backward
from shared.network.training.plan import TrainPlan

RESULTS = Path(__file__).parent / "results" / "spiking-digits.json"
PAGE = Path(__file__).parents[1] / "docs" / "spiking-digits.md"
SEEDS = range(10)
SIZES = (64, 256, 256, 10)
CURVE = (4, 8, 16, 32, 64, 128)
SHARE = 0.999
HEAD = (
    "# Spiking networks on digits\n\n"
    "`python -m ops.bench.spiking_digits`: scikit-learn's digits, 1,437 scans to learn from, 360 "
    "held out, split anew for each of ten seeds. Trained: 64-128-10, leaky neurons, 25 steps, "
    "pixels as evenly spaced spikes, the last layer integrates; Adam with surrogate slopes (fast "
    "sigmoid), 40 epochs, weight decay 0.1. Converted: 64-256-256-10 with relu, its activations "
    "over their 99.9th percentile as rates, reset by subtraction."
)


def main() -> None:
    """Measure, write, and make the page."""
    threadpoolctl.threadpool_limits(compute.BLAS_THREADS)
    backend = CpuBackend(engine.start(CpuSettings().cache))
    found: dict[str, object] = {"machine": machine.facts()}
    seeds = found.setdefault("seeds", {})
    assert isinstance(seeds, dict)
    for seed in SEEDS:
        seeds[str(seed)] = of_seed(seed, backend)
        sys.stdout.write(f"{seed} {seeds[str(seed)]}\n")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    quiet_digits.draw(seeds)
    PAGE.write_text(page(found))


def of_seed(seed: int, backend: CpuBackend) -> dict[str, float]:
    """Accuracies, shares of neurons and steps without a spike, and synaptic operations."""
    data, run = digits.load(seed=seed), backward.on(backend)
    plan = quiet_digits.plan(seed, rate=3e-3, target=None)
    classifier = spiking_classifiers.of_pixels()
    found = quiet_digits.measured("trained", classifier, plan, data, backend)
    found |= quiet_digits.of_seed(seed, data, backend)
    plan = TrainPlan(rate=2e-3, epochs=40, batch=64, seed=seed)
    plain = digits_networks.trained(digits_networks.mlp(*SIZES), plan, data, run)
    seen = observing.observe(plain, data.x, run)
    found["relu"] = digits_networks.accuracy(plain, data, backend)
    for steps in CURVE:
        made = conversion.converted(plain, seen, steps=steps, share=SHARE)
        found[f"converted {steps}"] = digits_networks.accuracy(made, data, backend)
        if steps == CURVE[-2]:
            silent = spiking_classifiers.silence(made, data, run)
            found |= {f"converted {name}": share for name, share in silent.items()}
    return found


def page(found: Mapping[str, object]) -> str:
    """Accuracies with intervals, and silence."""
    seeds, about = found["seeds"], found["machine"]
    assert isinstance(seeds, Mapping)
    assert isinstance(about, Mapping)
    names = ("trained", "relu", *(f"converted {steps}" for steps in CURVE))
    rows = [["", "accuracy [%]", "beside relu [points]"]]
    for name in names:
        told = faithful_table.interval(faithful_table.points(seeds, name))
        apart = faithful_table.difference(seeds, name, "relu")
        rows.append([_called(name), shown(told), "" if name == "relu" else shown(apart)])
    quiet = [["share without a spike [%]", "inputs", "layers that spike"]]
    for name in ("trained", "converted"):
        cells = [
            shown(faithful_table.interval(faithful_table.points(seeds, f"{name} silence of {of}")))
            for of in ("inputs", "layers")
        ]
        quiet.append([_called(f"{name} {CURVE[-2]}" if name == "converted" else name), *cells])
    return (
        f"{HEAD}\n\nMeans over {len(seeds)} seeds with 95 % intervals; differences within a seed:"
        f"\n\n{figures.markdown(rows)}\n\n{figures.markdown(quiet)}\n\n"
        f"{quiet_digits.section(seeds)}\n\n{about['cpu']}, "
        f"{about['cores']} cores, commit {about['commit']}, {str(about['date'])[:10]}. Every seed: "
        "[ops/bench/results/spiking-digits.json](../../ops/bench/results/spiking-digits.json). A "
        "test compares this page with them.\n"
    )


def _called(name: str) -> str:
    kind, _, steps = name.partition(" ")
    return (
        f"converted, {steps} steps" if steps else {"trained": "trained, 25 steps"}.get(kind, kind)
    )


if __name__ == "__main__":
    main()
