"""How products with sparse weights are cut into work-items; kernels/stored.cl explains the cuts."""

from dataclasses import dataclass

from services.gpu_worker.launch import blocks
from services.gpu_worker.programs import Defines
from services.gpu_worker.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Cut:
    """One launch: which variant of a kernel, and how many work-items and groups."""

    defines: Defines
    items: int  # along the first dimension
    groups: int  # along the second


def narrow(tuning: Tuning, items: int, n: int, *, lanes: int, batches: tuple[int, ...]) -> Cut:
    """Few columns of x: LANES work-items share a row, for BATCH columns at once.

    Args:
        tuning: of the device.
        items: work-items that cover the weight once.
        n: columns of x.
        lanes: work-items per row.
        batches: columns per work-item to choose from, ascending.
    """
    batch = blocks.xrows(batches, n)
    return Cut({"NARROW": 1, "LANES": lanes, "BATCH": batch}, items, -(-n // batch))


def uniform(tuning: Tuning, n: int) -> bool:
    """Whether n columns of x fill groups of their own for each row of the weight."""
    return tuning.uniform_from is not None and n >= tuning.uniform_from


def wide(tuning: Tuning, lines: int, n: int, vecs: tuple[int, ...]) -> Cut:
    """Many columns of x: a work-item takes a line of the weight and several columns.

    Args:
        tuning: of the device.
        lines: rows of the weight, or what else a work-item takes of it.
        n: columns of x, at least the first of `vecs`.
        vecs: columns per load to choose from, ascending.
    """
    if uniform(tuning, n):
        vec = blocks.xrows(vecs, n // tuning.group)
        defines = {"UNIFORM": 1, "VEC": vec, **blocks.alignment(tuning, n, vec)}
        return Cut(defines, lines * tuning.group, -(-n // (vec * tuning.group)))
    vec = blocks.xrows(vecs, n)
    span = _span(tuning.spans, -(-n // vec))
    defines = {"VEC": vec, "SPAN": span, **blocks.alignment(tuning, n, vec)}
    return Cut(defines, lines * -(-n // (vec * span)), 1)


def near(choices: tuple[int, ...], wanted: int) -> int:
    """The first choice that is no smaller than what is wanted, else the last."""
    return next((choice for choice in choices if choice >= wanted), choices[-1])


def _span(choices: tuple[int, ...], loads: int) -> int:
    """Loads per work-item: the most that leave at most a quarter of the last one idle."""
    fitting = [span for span in choices if -loads % span * 4 <= loads]
    return fitting[-1]
