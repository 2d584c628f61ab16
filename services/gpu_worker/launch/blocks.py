"""How dense and quantized products are cut: blocks of outputs, or tiles in local memory."""

from services.gpu_worker.programs import Kernel
from services.gpu_worker.tuning import Tuning

TILE_ROWS, TILE_COLS = 64, 128  # the kernels' own defaults
QUAD = 4  # floats of a 128-bit load


def xrows(choices: tuple[int, ...], n: int) -> int:
    """Rows of x per block for n rows: the largest choice that they fill."""
    fitting = [rows for rows in choices if rows <= n]
    return fitting[-1] if fitting else choices[0]


def defines(tuning: Tuning, rows: int, wrows: int | None = None) -> dict[str, int | str]:
    """Defines of the block kernels for blocks of `rows` rows of x and `wrows` of the weight."""
    return {
        "TILED": 0,
        "GROUP": tuning.group,
        "LANES": tuning.lanes,
        "XROWS": rows,
        "WROWS": wrows or tuning.wrows,
    }


def alignment(tuning: Tuning, cols: int, step: int) -> dict[str, int | str]:
    """Promise that rows of `cols` elements are made of whole loads, where that helps."""
    return {"ALIGNED": int(tuning.aligned and cols % step == 0)}


def items(tuning: Tuning, rows: int, n: int, m: int, wrows: int | None = None) -> int:
    """Work-items of a block kernel for an (n, m) output in blocks as `defines` has them."""
    return -(-n // rows) * -(-m // (wrows or tuning.wrows)) * tuning.lanes


def tile_items(kernel: Kernel, m: int) -> int:
    """Work-items along the columns of y of a tile kernel."""
    return -(-m // TILE_COLS) * kernel.group


def tile_rows(n: int) -> int:
    """Groups along the rows of y of a tile kernel."""
    return -(-n // TILE_ROWS)
