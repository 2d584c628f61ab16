"""Digits by few spikes: what accuracy is left when the hidden layer pays for its spikes.

Two codes for pixels, and a curve along the target of the cost for each; part of the benchmark
`spiking_digits`, which measures, and of its page.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np

from ops.bench import digits_networks, faithful_table, figures, spiking_classifiers
from ops.bench.faithful_table import Seeds
from ops.bench.figures import shown
from ops.bench.spiking_classifiers import STEPS
from ops.demo.digits import Digits
from ops.report import pictures
from ops.report.pictures import COLORS, plt
from services.cpu_worker.backend import CpuBackend
from shared.network.graph import Network
from shared.network.training import backward
from shared.network.training.plan import ActivityPlan, Adam, TrainPlan
from shared.spiking import temporal
from shared.tensors.dtypes import F32

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "quiet-digits.png"
WEIGHT, TARGETS = 1000.0, (None, 0.04, 0.02, 0.01, 0.005)
EPOCHS, FORGETTING = 40, Adam(decay=0.1)
MOST = 4  # spikes of a white pixel
OF = ("inputs", "layers", "all")


@dataclass(frozen=True, slots=True)
class Code:
    """How pixels become spikes, the network that reads them, and its learning rate."""

    words: str
    encoded: Callable[[F32], F32]
    network: Network
    rate: float


def at_once(pixels: F32) -> F32:
    """Pixels (n, 64) as one spike each, (n, 25, 64), the earlier the brighter."""
    return np.ascontiguousarray(np.moveaxis(temporal.latency(pixels, steps=STEPS), 0, 1))


CODES = {
    "four": Code(
        f"at most {MOST}", lambda pixels: pixels, spiking_classifiers.of_pixels(most=MOST), 3e-3
    ),
    "one": Code("at most 1", at_once, spiking_classifiers.of_trains(decay=0.97), 6e-3),
}


def of_seed(seed: int, data: Digits, backend: CpuBackend) -> dict[str, float]:
    """Accuracy, silence and operations for every code and target."""
    found: dict[str, float] = {}
    for name, code in CODES.items():
        coded = replace(data, x=code.encoded(data.x), held_x=code.encoded(data.held_x))
        for target in TARGETS:
            asked = plan(seed, rate=code.rate, target=target)
            found |= measured(key(name, target), code.network, asked, coded, backend)
    return found


def plan(seed: int, *, rate: float, target: float | None) -> TrainPlan:
    """How all of them are trained; without a target spikes cost nothing."""
    cost = None if target is None else ActivityPlan(WEIGHT, target)
    return TrainPlan(
        rate=rate, epochs=EPOCHS, batch=64, seed=seed, optimiser=FORGETTING, activity=cost
    )


def measured(
    called: str, start: Network, asked: TrainPlan, data: Digits, backend: CpuBackend
) -> dict[str, float]:
    """Train, and tell all of the result under its name."""
    run = backward.on(backend)
    made = digits_networks.trained(start, asked, data, run)
    silent = spiking_classifiers.silence(made, data, run)
    return {
        called: digits_networks.accuracy(made, data, backend),
        **{f"{called} {name}": share for name, share in silent.items()},
        f"{called} operations": spiking_classifiers.operations(made, data, run),
    }


def key(code: str, target: float | None) -> str:
    """The name of a network in the results."""
    return f"{code} {'free' if target is None else target}"


def section(seeds: Seeds) -> str:
    """The part of the page: what was done, the table, the picture."""
    rows = [
        ["spikes of a pixel", "target", "accuracy [%]", "inputs", "hidden", "both", "operations"],
        _row(seeds, "trained", f"at most {STEPS}", "–"),
    ]
    for name, code in CODES.items():
        for target in TARGETS:
            told = "–" if target is None else f"{target:g}"
            rows.append(_row(seeds, key(name, target), code.words, told))
    return (
        "## Few spikes\n\n"
        f"The network of 25 steps again. Above its target the rate of the hidden layer costs "
        f"{WEIGHT:,.0f} times the square of the excess in training (`ellesmere train --activity`, "
        f"`--activity-weight`); pixels come as at most {MOST} evenly spaced spikes, or as one, the "
        "earlier the brighter, for neurons that leak less (decay 0.97, rate 0.006). *Inputs*, "
        "*hidden* and *both* are the shares [%] of their places, one for each neuron and step of a "
        "held-out scan, without a spike; the ten outputs only integrate, never spike and are not "
        "counted. *Operations* are spikes times the synapses that they reach, per scan. Weights, "
        "rates and codes were tried on the first seed and on two others (100, 101), epochs and "
        "decay on four more (102 to 105).\n\n"
        f"{figures.markdown(rows)}\n\n"
        f"![Accuracy against silence of the hidden layer, for both codes](pictures/{PICTURE.name})"
    )


def draw(seeds: Seeds) -> None:
    """Accuracy against silence of the hidden layer along the targets, with intervals."""
    with mpl.rc_context(pictures.STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 3.6))
        lines = {"as above": ["trained"]}
        lines |= {f"{c.words} a pixel": [key(n, t) for t in TARGETS] for n, c in CODES.items()}
        for at, (label, names) in enumerate(lines.items()):
            x, y = (
                [_interval(seeds, f"{name}{of}") for name in names]
                for of in (" silence of layers", "")
            )
            axes.errorbar(
                [middle for middle, _ in x], [middle for middle, _ in y],
                [half for _, half in y], [half for _, half in x],
                marker="o", markersize=4, capsize=2, color=COLORS[(0, 1, 2)[at]], label=label,
                linewidth=1.4, elinewidth=0.8,
            )  # fmt: skip
        axes.set(
            xlabel="places of the hidden layer without a spike [%]",
            ylabel="accuracy on held-out scans [%]",
        )
        axes.legend(frameon=False, title="spikes", loc="lower left")
        pictures.save(figure, PICTURE)


def _row(seeds: Seeds, name: str, words: str, target: str) -> list[str]:
    shares = [shown(_interval(seeds, f"{name} silence of {of}")) for of in OF]
    made = [figures.number(seeds[seed][f"{name} operations"]) for seed in sorted(seeds, key=int)]
    middle, half = faithful_table.interval(made)
    return [words, target, shown(_interval(seeds, name)), *shares, f"{middle:,.0f} ± {half:,.0f}"]


def _interval(seeds: Seeds, name: str) -> tuple[float, float]:
    return faithful_table.interval(faithful_table.points(seeds, name))
