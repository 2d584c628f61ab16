"""Panels: some columns of x, copied so that each of their rows starts on a cache line.

A stored element of a matrix reads one row of the panel. Copied like this, 32 columns are two cache
lines; where numpy put them, they are three, and every load crosses a border. The copy
also takes x in any memory order, fills up the last tile with zeros, and applies the scale
of each column of the matrix where there is one.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.arithmetic import mul, splat, width
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, store
from shared.tensors.dtypes import F32

LINE = 64  # bytes of a cache line, and of the widest register
WIDTHS = (32, 16, 8)  # columns of a panel


def tiles(n: int) -> list[tuple[int, int, int]]:
    """Cut n columns into panels: (first column, columns, width of the panel) of each.

    The last panel is the narrowest one that holds what is left, and is as cheap as a full one.
    """
    cut = []
    for column in range(0, n, WIDTHS[0]):
        count = min(WIDTHS[0], n - column)
        cut.append((column, count, min(width for width in WIDTHS if width >= count)))
    return cut


def room(rows: int, columns: int) -> F32:
    """(rows * columns,) float32, not filled, starting on a cache line."""
    size = rows * columns
    held = np.empty(size + LINE // 4, dtype=np.float32)
    skipped = -held.ctypes.data % LINE // 4
    return held[skipped : skipped + size]


@kernel
def pack(span: Any, lanes: Any, source: Any, part: Any, scale: Any, panel: Any) -> None:
    """Copy rows of x into rows of a panel.

    Args:
        span: first row, and the row after the last one.
        lanes: columns of the panel; those beyond `count` become 0.
        source: x as one line of float32, and the distances of rows and columns in it [elements].
        part: first column of x, and how many.
        scale: (cols,) float32 that multiplies the rows of x, or empty.
        panel: (cols * lanes,) float32.
    """
    x, row_step, column_step = source
    column, count = part
    columns = width(lanes)
    whole = column_step == 1 and count == columns
    for row in range(span[0], span[1]):
        at = row * row_step + column * column_step
        to = row * columns
        factor = scale[row] if scale.size else np.float32(1.0)
        if whole:
            store(panel, to, mul(load(lanes, x, at), splat(lanes, factor)))
        else:
            for offset in range(count):
                panel[to + offset] = x[at + offset * column_step] * factor
            for offset in range(count, columns):
                panel[to + offset] = 0


@shared
def pack_shared(bounds: Any, lanes: Any, source: Any, part: Any, scale: Any, panel: Any) -> None:
    """`pack` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        pack((bounds[share], bounds[share + 1]), lanes, source, part, scale, panel)


LANES = {width: Lanes(width) for width in WIDTHS}
