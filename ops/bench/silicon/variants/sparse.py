"""Products with sparse weights as a card launches them.

Every layout with every kind of stored value and of index; what else varies (how many share a row,
columns at once, promised alignment) does so for 32-bit values, and is at its usual for the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ops.bench.silicon.configuration import STREAM, TILE, Configuration, Defines, Trip
from services.gpu_worker import tuning

CARD = tuning.CARD
WIDTHS = (32, 16, 8)  # bits of a stored value
WORD, QUAD, RUN = 4, 4, 8  # bytes of a float; weights that are loaded, and decoded, together
USUAL_LANES = 16


@dataclass(frozen=True, slots=True)
class Form:
    """What the launches of one layout differ in."""

    operator: str
    indices: tuple[int, ...] = (32,)  # bits of an index
    defines: Defines = field(default_factory=dict)
    lanes: tuple[int, ...] = CARD.lanes_per_row
    batches: tuple[int, ...] = CARD.row_batches
    vecs: tuple[int, ...] = CARD.uniform_vecs
    tall: tuple[int, int] | None = None  # rows of a block per work-item: few columns, many
    thorough: bool = True  # every variant, not only the usual one


FORMS = (
    Form("spmm_csr", (32, 16)),
    Form("spmm_csc", (32, 16)),
    Form("spmm_sell", (32, 16), lanes=(CARD.lanes,)),
    Form("spmm_bitmask"),
    Form("spmm_nm", defines={"N": 2, "M": 4}),
    Form("spmm_nm", defines={"N": 1, "M": 4}, thorough=False),
    *(
        Form(
            "spmm_block",
            (32, 16),
            {"BLOCK_ROWS": rows, "BLOCK_COLS": cols},
            batches=CARD.block_batches,
            vecs=CARD.block_vecs(1024),
            tall=(min(rows, CARD.tall), min(rows, CARD.uniform_tall)),
            thorough=(rows, cols) == (16, 16),
        )
        for rows, cols in ((16, 16), (64, 64), (4, 8))
    ),
)


def configurations() -> Iterator[Configuration]:
    """Few columns, many, and so many that a group is one row; then the sampled product."""
    for form in FORMS:
        for value in WIDTHS:
            for index in form.indices:
                shared: Defines = {
                    **form.defines,
                    "VALUE": value,
                    "INDEX": index,
                    "WORDS": int(CARD.words),
                }
                every = form.thorough and (value, index) == (32, form.indices[0])
                yield from _few(form, shared, value, index, every=every)
                yield from _many(form, shared, value, every=every)
    yield from _sampled()


def _few(
    form: Form, shared: Defines, value: int, index: int, *, every: bool
) -> Iterator[Configuration]:
    entry = f"{form.operator}_rows"
    usual = USUAL_LANES if USUAL_LANES in form.lanes else form.lanes[-1]
    gathered_codes = value == 8 and form.operator in ("spmm_csr", "spmm_csc")
    cuts = [(usual, 1 if gathered_codes else form.batches[-1], 1)]
    if every:
        cuts = [(lanes, form.batches[-1], 1) for lanes in form.lanes]
        cuts += [(cuts[-1][0], batch, 0) for batch in form.batches]
    for lanes, batch, first in cuts:
        cut = {"NARROW": 1, "LANES": lanes, "BATCH": batch, "BATCH_FIRST": first}
        trip = _few_trip(form, value, index, batch)
        yield Configuration(form.operator, entry, {**shared, **cut}, trip=trip)


def _many(form: Form, shared: Defines, value: int, *, every: bool) -> Iterator[Configuration]:
    entry, budget = form.operator, TILE if form.tall else STREAM
    few_tall, many_tall = form.tall or (None, None)
    for aligned in (1, 0) if every else (1,):
        given: Defines = {**shared, "BATCH_FIRST": 1, "ALIGNED": aligned}
        for vec in CARD.block_vecs(1) if form.tall else CARD.column_vecs:
            defines = {**given, "VEC": vec, "SPAN": CARD.spans[0], **_tall(few_tall)}
            yield Configuration(entry, entry, defines, budget, _many_trip(form, value, vec))
        for vec in form.vecs if every else form.vecs[-1:]:
            defines = {**given, "VEC": vec, "UNIFORM": 1, **_tall(many_tall)}
            yield Configuration(entry, entry, defines, budget, _uniform_trip(form, vec))


def _few_trip(form: Form, value: int, index: int, batch: int) -> Trip:
    """Bytes of a weight and of what goes with it, when neighbours are loaded together."""
    x = batch * WORD
    match form.operator:
        case "spmm_csr":
            return Trip(1, value // 8 + index // 8 + x)
        case "spmm_csc":  # a scale for each column
            return Trip(1, value // 8 + index // 8 + x + (WORD if value == 8 else 0))
        case "spmm_sell":  # a word of each: the neighbours belong to other rows
            return Trip(1, 2 * WORD + x)
        case "spmm_bitmask":
            return Trip(1, WORD + x)
    return Trip(1, value // 8 + x)  # spmm_nm and spmm_block


def _many_trip(form: Form, value: int, vec: int) -> Trip:
    """As above, where each weight meets `vec` columns."""
    x = vec * WORD
    if form.operator == "spmm_nm":
        return Trip(RUN, WORD + RUN * (value // 8 + x))  # the places of a run are a word
    if form.tall:
        return Trip(QUAD * form.tall[0], QUAD * (form.tall[0] * value // 8 + x))
    indices = 0 if form.operator == "spmm_bitmask" else WORD
    scales = WORD if form.operator == "spmm_csc" and value == 8 else 0
    return Trip(1, indices + scales + WORD + x)


def _uniform_trip(form: Form, vec: int) -> Trip:
    """Weights and their places go to scalar registers there: a load of x is left for each."""
    return Trip(form.tall[1] if form.tall else 1, vec * WORD)


def _tall(rows: int | None) -> Defines:
    return {} if rows is None else {"TALL": rows}


def _sampled() -> Iterator[Configuration]:
    for lanes in (CARD.lanes_per_row[0], CARD.lanes_per_row[-1]):
        for index in (32, 16):
            for aligned in (1, 0):
                defines = {"LANES": lanes, "INDEX": index, "WORDS": int(CARD.words)}
                more = {"VEC": CARD.vec, "ALIGNED": aligned}
                yield Configuration("sddmm_csr", "sddmm_csr", {**defines, **more})
