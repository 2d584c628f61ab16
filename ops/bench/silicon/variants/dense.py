"""gemm_f32 as a card launches it."""

from collections.abc import Iterator

from ops.bench.silicon.configuration import TILE, Configuration, Trip
from services.gpu_worker import tuning
from services.gpu_worker.launch import blocks

WORD = 4  # bytes of a float


def configurations() -> Iterator[Configuration]:
    """Tiles, and blocks of every height, with and without promised alignment."""
    card = tuning.CARD
    for aligned in (1, 0):
        yield Configuration("gemm_f32", "gemm_f32", {"ALIGNED": aligned}, TILE)
        for rows in card.xrows:
            defines = blocks.defines(card, rows) | {"VEC": card.vec, "ALIGNED": aligned}
            trip = Trip(card.wrows * card.vec, (rows + card.wrows) * card.vec * WORD)
            yield Configuration("gemm_f32", "gemm_f32_rows", defines, trip=trip)
