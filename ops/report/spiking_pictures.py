"""What neurons did, as pictures: spike rasters, membrane traces, rates. All take plain arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ops.report.pictures import COLORS, SOFT, Axes

Numbers = npt.NDArray[np.floating[Any]]
BLUE, RED = COLORS[1], COLORS[2]
TICKS = 0.06  # share of the height that spikes above a trace take


def raster(
    axes: Axes, times: Numbers, train: Numbers, *, color: str = BLUE, lowest: float = 0.0
) -> None:
    """A stroke for every spike, one line per neuron.

    Args:
        times: (steps,) of each step, in the unit of the axis.
        train: (steps, neurons) of 0 and 1.
        lowest: where the line of the first neuron is.
    """
    step, neuron = np.nonzero(train)
    axes.vlines(
        np.asarray(times)[step], neuron + lowest - 0.4, neuron + lowest + 0.4,
        color=color, linewidth=1.1,
    )  # fmt: skip


def traces(  # noqa: PLR0913 - what there is to see of one neuron
    axes: Axes,
    times: Numbers,
    v: Numbers,
    *,
    threshold: float | Numbers | None = None,
    spikes: Numbers | None = None,
    color: str = BLUE,
    label: str | None = None,
) -> None:
    """Potentials over time, the threshold as a broken line, spikes as strokes above.

    Args:
        times: (steps,) of each step, in the unit of the axis.
        v: (steps,) or (steps, neurons).
        threshold: one for all times, or (steps,).
        spikes: (steps,) of 0 and 1.
    """
    axes.plot(times, v, color=color, linewidth=1.1, label=label)
    if threshold is not None:
        held = np.broadcast_to(threshold, np.shape(times))
        axes.plot(times, held, color=RED, linewidth=0.9, linestyle=(0, (4, 3)))
    if spikes is not None:
        axes.vlines(
            np.asarray(times)[np.nonzero(spikes)[0]], 1 - TICKS, 1, color=color, linewidth=1.2,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip


def histogram(axes: Axes, rates: Numbers, *, bins: int = 20) -> None:
    """How many neurons have which rate [Hz], and the mean as a line.

    Args:
        rates: (neurons,) [Hz].
    """
    axes.hist(rates, bins=bins, color=BLUE, edgecolor="white", linewidth=0.6)
    axes.axvline(float(np.mean(rates)), color=RED, linewidth=1.2)
    axes.set(xlabel="rate [Hz]", ylabel="neurons")


def response(
    axes: Axes,
    currents: Numbers,
    rates: Numbers,
    *,
    color: str,
    label: str,
    closed: Numbers | None = None,
) -> None:
    """The f-I curve of a neuron: dots, and where a formula is known its line.

    Args:
        currents: (points,) in the unit of the axis.
        rates: (points,) [Hz].
        closed: (points,) [Hz], by the formula.
    """
    axes.plot(
        currents, rates, "o" if closed is not None else "-", color=color, markersize=3.5,
        label=label,
    )  # fmt: skip
    if closed is not None:
        axes.plot(currents, closed, color=color, linewidth=1.0)
    axes.set_ylim(bottom=0)


def lines(
    axes: Axes, x: Sequence[float], series: dict[str, Sequence[float]], *, skipped: int = 0
) -> None:
    """One line per name, dots on it, in the house's colours.

    Args:
        x: (points,).
        series: name -> (points,).
        skipped: colours that others took.
    """
    for at, (name, values) in enumerate(series.items()):
        color = COLORS[1 + (at + skipped) % (len(COLORS) - 1)]
        axes.plot(x, values, "o-", color=color, markersize=3.5, linewidth=1.1, label=name)


def quiet(axes: Axes, title: str) -> None:
    """A small title, and no grid behind what is drawn as strokes."""
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.grid(visible=False)
    axes.tick_params(length=2, color=SOFT)
