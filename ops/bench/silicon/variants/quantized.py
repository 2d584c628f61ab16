"""Products with weights of 8 and 4 bits as a card launches them."""

from collections.abc import Iterator

from ops.bench.silicon.configuration import STREAM, TILE, Configuration, Trip
from services.gpu_worker import tuning
from services.gpu_worker.launch import blocks

WORD = 4  # bytes of a float
BYTES_WIDE = 16  # codes of gemm_i8 per load
STEP = 32  # columns of gemm_i4 per trip


def configurations() -> Iterator[Configuration]:
    """Tiles, blocks of every height, and what prepares the activations."""
    yield from gemm_i8()
    yield from gemm_i4()
    yield from gemm_int()
    yield from gemm_q8()


def gemm_i8() -> Iterator[Configuration]:
    """Codes of one byte."""
    card = tuning.CARD
    for aligned in (1, 0):
        yield Configuration("gemm_i8", "gemm_i8", {"ALIGNED": aligned}, TILE)
        for rows in card.code_xrows:
            defines = blocks.defines(card, rows) | {"ALIGNED": aligned}
            trip = Trip(card.wrows * BYTES_WIDE, BYTES_WIDE * (card.wrows + rows * WORD))
            yield Configuration("gemm_i8", "gemm_i8_rows", defines, trip=trip)
    yield Configuration("gemm_i8", "gemm_i8_round", {"ROUND": 1})


def gemm_i4() -> Iterator[Configuration]:
    """Codes of four bits with float activations, then with bytes."""
    card = tuning.CARD
    yield Configuration("gemm_i4", "gemm_i4", {}, TILE)
    yield Configuration("gemm_i4", "gemm_i4_bytes", {"BYTES": 1}, TILE)
    wrows = card.nibble_wrows
    weight_bytes = wrows * (STEP // 2 + WORD)  # codes, and a scale per row
    for rows in card.nibble_xrows:
        defines = blocks.defines(card, rows, wrows)
        trip = Trip(wrows * STEP, weight_bytes + rows * STEP * WORD)
        yield Configuration("gemm_i4", "gemm_i4_rows", defines, trip=trip)
    for rows in card.byte_xrows:
        defines = blocks.defines(card, rows, wrows) | {"BYTES": 1}
        trip = Trip(wrows * STEP // 2, wrows * STEP // 4 + rows * STEP // 2)  # half a step
        budget = STREAM if rows == 1 else TILE  # more rows are a tile in registers
        yield Configuration("gemm_i4", "gemm_i4_bytes_rows", defines, budget, trip)
    for entry in ("gemm_i4_round", "gemm_i4_spread"):
        yield Configuration("gemm_i4", entry, {"ROUND": 1})


def gemm_int() -> Iterator[Configuration]:
    """Codes of 2 to 8 bits; an odd number of them lies across words."""
    card = tuning.CARD
    for bits in range(2, 9):
        yield Configuration("gemm_int", "gemm_int", {"BITS": bits}, TILE)
        for rows in card.code_xrows:
            defines = blocks.defines(card, rows) | {"BITS": bits}
            read = card.wrows * (STEP * bits // 8 + 2 * WORD) + rows * STEP * WORD
            yield Configuration(
                "gemm_int", "gemm_int_rows", defines, trip=Trip(card.wrows * STEP, read)
            )


def gemm_q8() -> Iterator[Configuration]:
    """Bytes on both sides, and either result."""
    card = tuning.CARD
    for made in (1, 0):
        yield Configuration("gemm_q8", "gemm_q8", {"BYTES": made}, TILE)
        for rows in card.code_xrows:
            defines = blocks.defines(card, rows) | {"BYTES": made}
            trip = Trip(card.wrows * BYTES_WIDE, BYTES_WIDE * (card.wrows + rows))
            yield Configuration("gemm_q8", "gemm_q8_rows", defines, trip=trip)
    yield Configuration("gemm_q8", "gemm_q8_widen", {"WIDEN": 1})
