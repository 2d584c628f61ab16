"""The demo's pictures: accuracy against size and time, the workers' time line, spikes."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from ops.demo.findings import Findings, KillTest, Spiking, VariantRow
from ops.report import pictures as report
from ops.report import spiking_pictures
from ops.report.pictures import INK, STYLE, Axes, plt, save

PIXELS = 64
COLORS = report.COLORS[1:]
FAINT = "#b9c1cf"  # what stands behind


def draw(findings: Findings, folder: Path) -> list[Path]:
    """Write every picture whose data is there; returns the files."""
    files = []
    with mpl.rc_context(STYLE):
        if findings.variants:
            files.append(save(_trade(findings.variants), folder / "variants.png"))
        if findings.kill and findings.kill.spans:
            files.append(save(_timeline(findings.kill), folder / "timeline.png"))
        if findings.spiking:
            files.append(save(_spikes(findings.spiking), folder / "spikes.png"))
    return files


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
        axes.legend(
            frameon=False, loc="lower left", bbox_to_anchor=(-0.05, 1), ncols=4, fontsize="small",
            columnspacing=0.8, handletextpad=0.1,
        )  # fmt: skip
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


def _spikes(spiking: Spiking) -> plt.Figure:
    """Spikes of 64 pixels and of ten neurons, and the neurons' membranes."""
    figure, (pixels, neurons, membranes) = plt.subplots(
        3, 1, figsize=(10, 6.4), sharex=True, height_ratios=(2.1, 0.9, 1.6), layout="constrained"
    )
    times = np.arange(len(spiking.raster))
    seen, answers = np.split(spiking.raster, [PIXELS], axis=1)
    spiking_pictures.raster(pixels, times, seen, color=COLORS[0])
    spiking_pictures.quiet(pixels, f"digit {spiking.digit}: spikes of its pixels")
    pixels.set_yticks([0, PIXELS - 1], ["pixel 0", f"pixel {PIXELS - 1}"])
    spiking_pictures.raster(neurons, times, answers, color=COLORS[1])
    spiking_pictures.quiet(neurons, f"ten neurons answer: read as {spiking.guess}")
    neurons.set_yticks([spiking.guess], [f"neuron {spiking.guess}"])
    neurons.set(ylim=(-1, answers.shape[1]))
    others = np.delete(spiking.membranes, spiking.guess, axis=1)
    spiking_pictures.traces(membranes, times, others, color=FAINT)
    winner = spiking.membranes[:, spiking.guess]
    spiking_pictures.traces(membranes, times, winner, threshold=1.0, color=COLORS[1])
    spiking_pictures.quiet(membranes, f"their membranes, neuron {spiking.guess} in orange")
    membranes.set(xlabel="time step", ylabel="membrane", xlim=(-1, len(times)))
    return figure
