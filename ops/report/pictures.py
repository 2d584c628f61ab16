"""The picture of a search: accuracy against bytes and time, with intervals and the front."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

INK, SOFT, RULE = "#1d2433", "#8a93a6", "#d8dde6"
COLORS = ("#8a93a6", "#1f6f8b", "#d1603d", "#5b8e3e", "#7d5ba6", "#b8860b", "#3c6e71", "#a23b5b")
STYLE = {
    "figure.facecolor": "#ffffff",
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
SHADES = 96
Row = Mapping[str, object]


def trade(rows: Sequence[Row], chosen: str | None, target: Path) -> Path:
    """Draw candidates and baseline.

    Args:
        rows: each with name, accuracy, low, high, seconds, bytes; what they came from first.
        chosen: the name of the one that was kept; it is drawn larger.
    """
    with mpl.rc_context(STYLE):
        figure, (size, time) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
        for axes, key, unit in ((size, "bytes", 2**-10), (time, "seconds", 1e3)):
            _front(axes, rows, key, unit)
            for at, row in enumerate(rows):
                color = COLORS[at % len(COLORS)]
                _point(axes, row, _number(row, key) * unit, color, kept=row["name"] == chosen)
        size.set(xlabel="weights [KiB]", ylabel="accuracy on held-out rows [%]", xlim=(0, None))
        time.set(xlabel="one call where it will serve, median [ms]", xlim=(0, None))
        figure.legend(
            *size.get_legend_handles_labels(), loc="lower center", bbox_to_anchor=(0.5, 0.9),
            ncols=7, frameon=False,
        )  # fmt: skip
        return save(figure, target)


def save(figure: plt.Figure, target: Path) -> Path:
    """Write a figure in few colours, which its lines do not miss, and forget it."""
    figure.savefig(target, bbox_inches="tight")
    plt.close(figure)
    with Image.open(target) as drawn:
        few = drawn.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    few.save(target, optimize=True)
    return target


def _point(axes: Axes, row: Row, x: float, color: str, *, kept: bool) -> None:
    accuracy = 100 * _number(row, "accuracy")
    below, above = accuracy - 100 * _number(row, "low"), 100 * _number(row, "high") - accuracy
    axes.errorbar(
        x, accuracy, [[below], [above]], fmt="D" if kept else "o", color=color,
        markersize=11 if kept else 8, capsize=3, elinewidth=1, alpha=0.9,
        label=f"{row['name']} (kept)" if kept else str(row["name"]),
    )  # fmt: skip


def _front(axes: Axes, rows: Sequence[Row], key: str, unit: float) -> None:
    """A thin line through what nothing beats in this picture."""
    points = sorted((_number(row, key) * unit, 100 * _number(row, "accuracy")) for row in rows)
    front: list[tuple[float, float]] = []
    for x, accuracy in points:
        if not front or accuracy > front[-1][1]:
            front.append((x, accuracy))
    axes.plot(*zip(*front, strict=True), color=SOFT, linewidth=1, linestyle=":", zorder=0)


def _number(row: Row, key: str) -> float:
    value = row[key]
    assert isinstance(value, int | float)  # the report's shape
    return float(value)
