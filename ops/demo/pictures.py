"""The demo's pictures: accuracy against size and time, the workers' time line, a spike raster."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ops.demo.findings import Findings, KillTest, Spiking, VariantRow

INK, PAPER, RULE = "#1d2433", "#ffffff", "#d8dde6"
COLORS = ["#1f6f8b", "#d1603d", "#5b8e3e", "#7d5ba6", "#b8860b", "#3c6e71"]


def draw(findings: Findings, folder: Path) -> list[Path]:
    """Write every picture whose data is there; returns the files."""
    files = []
    with mpl.rc_context(_style()):
        if findings.variants:
            files.append(_save(_trade(findings.variants), folder / "variants.png"))
        if findings.kill and findings.kill.spans:
            files.append(_save(_timeline(findings.kill), folder / "timeline.png"))
        if findings.spiking:
            files.append(_save(_raster(findings.spiking), folder / "spikes.png"))
    return files


def _style() -> dict[str, object]:
    return {
        "figure.facecolor": PAPER,
        "axes.edgecolor": RULE,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#eceff4",
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.size": 10,
        "savefig.dpi": 144,
    }


def _save(figure: plt.Figure, path: Path) -> Path:
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)
    return path


def _trade(rows: list[VariantRow]) -> plt.Figure:
    """Accuracy with its 95 % interval against bytes, and against the time of one row per class."""
    figure, (size, time) = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    classes = sorted({name for row in rows for name in row.p50})
    for color, row in zip(COLORS, rows, strict=False):
        _point(size, row.bytes / 2**20, row, color=color, marker="o")
        size.plot([], [], "o", color=color, label=row.name)
        for marker, worker_class in zip("osD^v", classes, strict=False):
            if worker_class in row.p50:
                _point(time, row.p50[worker_class] * 1e3, row, color=color, marker=marker)
    for marker, worker_class in zip("osD^v", classes, strict=False):
        time.plot([], [], marker, color=INK, label=worker_class)
    size.set(xlabel="weights [MiB]", ylabel="accuracy on held-out digits [%]", xlim=(0, None))
    time.set(xlabel="one row at the worker, median [ms]", xlim=(0, None))
    for axes in (size, time):
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    return figure


def _point(axes: Axes, x: float, row: VariantRow, *, color: str, marker: str) -> None:
    low, high = (100 * abs(bound - row.accuracy) for bound in row.interval)
    axes.errorbar(
        x, row.accuracy * 100, [[low], [high]], fmt=marker, color=color, markersize=8, capsize=3,
        elinewidth=1,
    )  # fmt: skip


def _timeline(kill: KillTest) -> plt.Figure:
    """One bar per durable job on the row of its worker; the kill as a line."""
    workers = sorted({span.worker for span in kill.spans})
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.5 * len(workers)))
    for index, worker in enumerate(workers):
        mine = [span for span in kill.spans if span.worker == worker]
        bars = [(span.start, max(span.end - span.start, 0.002)) for span in mine]
        faces = [COLORS[1] if span.attempt > 1 else COLORS[0] for span in mine]
        axes.broken_barh(bars, (index - 0.36, 0.72), facecolors=faces, linewidth=0)
    axes.axvline(kill.killed_at, color=COLORS[1], linewidth=1.5)
    axes.annotate(
        f"kill -9 {kill.victim}", (kill.killed_at, len(workers) - 0.5), (4, 2),
        textcoords="offset points", color=COLORS[1], annotation_clip=False,
    )  # fmt: skip
    axes.set_yticks(range(len(workers)), workers)
    axes.set(xlabel="time since the first submission [s]", ylim=(-0.6, len(workers) - 0.4))
    return figure


def _raster(spiking: Spiking) -> plt.Figure:
    """A dot per spike: 64 pixels below, ten output neurons above."""
    figure, axes = plt.subplots(figsize=(10, 4.2))
    steps, lines = spiking.raster.nonzero()
    pixels = lines < 64
    axes.plot(steps[pixels], lines[pixels], "|", color=COLORS[0], markersize=3)
    guesses = ~pixels
    axes.plot(steps[guesses], lines[guesses] + 2, "|", color=COLORS[1], markersize=7)
    axes.set_yticks([0, 63, 66 + spiking.guess], ["pixel 0", "pixel 63", f"neuron {spiking.guess}"])
    axes.set(xlabel="time step", title=f"digit {spiking.digit}, read as {spiking.guess}")
    return figure
