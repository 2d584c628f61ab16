"""What a layer of spikes costs by the share of inputs that spike, on both ways to add up.

``python -m ops.bench.spiking_paths`` measures 784 inputs, 128 neurons, 100 steps, 32 rows on one
thread: only what spikes, by BLAS, and as a worker chooses. It writes results/spiking-paths.json and
the picture that spiking-speed.md shows.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np

from ops.bench import contender, machine, turns
from ops.report import pictures
from ops.report.pictures import COLORS, plt
from services.cpu_worker import engine
from services.cpu_worker.spiking import running
from services.cpu_worker.spiking.choice import TRIALS
from services.cpu_worker.spiking.running import Run, Synapses
from shared.chassis.settings import CpuSettings
from shared.spiking.layers import Layer
from shared.tensors import packing
from shared.tensors.dtypes import F32, I32, U32

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "spiking-paths.json"
PICTURE = HERE.parent / "docs" / "pictures" / "spiking-paths.png"
ROWS, STEPS, INPUTS, OUTPUTS, THREADS = 32, 100, 784, 128, 1
RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.9)
REPEATS = 11
Way = Callable[[Run], None]
NAMES = {"events": "only what spikes", "blas": "BLAS", "chosen": "as a worker chooses"}


def main() -> None:
    """Measure, write, draw."""
    engine.start(CpuSettings().cache, threads=THREADS)
    found = {"machine": machine.facts(), "rates": {str(rate): of_rate(rate) for rate in RATES}}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    draw(found)


def of_rate(rate: float) -> dict[str, list[float]]:
    """Seconds of every repeat that counts, in turns."""
    rng = np.random.default_rng(7)
    weight: F32 = (rng.standard_normal((OUTPUTS, INPUTS)) * 2 / np.sqrt(INPUTS)).astype(np.float32)
    synapses, bias = Synapses.of(weight, 16), np.zeros(OUTPUTS, np.int32)
    spikes = (rng.random((ROWS, STEPS, INPUTS)) < rate).astype(np.uint8)
    words = packing.join_spikes(spikes).reshape(-1)
    ways = ways_through(synapses, bias)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(TRIALS + 1):  # warms up, and the worker tries both
            way(run_over(words))
    for _ in range(turns.TRIES):
        for name, way in ways.items():
            if len(samples[name]) < REPEATS and (seconds := _sample(way, words)) is not None:
                samples[name].append(seconds)
    middle = {name: f"{statistics.median(one) * 1e3:.2f} ms" for name, one in samples.items()}
    sys.stdout.write(f"{rate:.0%} {middle}\n")
    return samples


def ways_through(synapses: Synapses, bias: I32) -> dict[str, Way]:
    """The same steps in all ways, by name."""
    return {
        "events": lambda run: running.by_events(run, synapses, bias, THREADS),
        "blas": lambda run: running.by_blas(run, synapses, bias, THREADS),
        "chosen": lambda run: running.advance(run, synapses, bias, THREADS),
    }


def _sample(way: Way, words: U32) -> float | None:
    """Seconds of a call; None where neighbours took too much of the time."""
    with machine.watching_steal() as steal:
        began, calls = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < contender.LEAST_SECONDS:
            way(run_over(words))
            calls += 1
    return spent / calls if steal.clean else None


def run_over(words: U32) -> Run:
    """A call over spikes (rows, steps, words of inputs) in a line, from rest."""
    fired = np.zeros(ROWS * STEPS * OUTPUTS // 32, np.uint32)
    shape = (ROWS, STEPS, INPUTS, OUTPUTS)
    v = np.zeros(ROWS * OUTPUTS, np.float32)
    return Run(Layer(0.9), shape, words=words, v=v, fired=fired)


def draw(found: Mapping[str, object]) -> None:
    """Medians over rates, with their middle halves."""
    rates = found["rates"]
    assert isinstance(rates, Mapping)
    x = [100 * float(rate) for rate in rates]
    with mpl.rc_context(pictures.STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 3.6))
        for at, (name, label) in enumerate(NAMES.items()):
            low, middle, high = (
                [1e3 * float(np.quantile(one[name], share)) for one in rates.values()]
                for share in (0.25, 0.5, 0.75)
            )
            broken = "--" if name == "chosen" else "-"
            axes.plot(x, middle, broken, color=COLORS[(1, 2, 3)[at]], label=label, linewidth=1.6)
            axes.fill_between(x, low, high, color=COLORS[(1, 2, 3)[at]], alpha=0.15, linewidth=0)
        axes.set(
            xlabel="inputs that spike in a step [%]", ylabel="a layer, 32 rows [ms]",
            xlim=(0, max(x)), ylim=(0, None),
        )  # fmt: skip
        axes.legend(frameon=False)
        pictures.save(figure, PICTURE)


if __name__ == "__main__":
    main()
