"""What tuning may choose from: for each operator the fields that its launcher reads, and values.

A new tunable is a field of `Tuning` and a line here. Values are tried in the order written. On a
card every combination must keep to the rules of the silicon; those that a driver would not tell
come from the offline compiler's count of registers for gfx803.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from services.gpu_worker.limits import WAVEFRONT, Limits
from services.gpu_worker.tuned import classes
from services.gpu_worker.tuning import Tuning
from shared.operators.spec import Attributes, Types

Value = int | bool | tuple[int, ...] | None
Values = Mapping[str, Value]  # field of Tuning -> value, where it differs from the start
Rule = Callable[[Tuning], str | None]  # why a combination may not be launched on a card


@dataclass(frozen=True, slots=True)
class Field:
    """One tunable: its name in `Tuning` and what may stand there."""

    name: str
    card: tuple[Value, ...]
    processor: tuple[Value, ...]

    def candidates(self, start: Tuning) -> tuple[Value, ...]:
        """The values for a kind of device, the start value first."""
        listed = self.processor if is_processor(start) else self.card
        first: Value = getattr(start, self.name)
        return (first, *(value for value in listed if not _same(value, first)))


@dataclass(frozen=True, slots=True)
class Space:
    """What one operator's launcher reads."""

    fields: tuple[Field, ...]
    flat: bool = False  # only the number of elements matters to it
    telling: tuple[str, ...] = ()  # attributes that choose between its kernels
    registers: Rule = lambda tuning: None

    def shape_class(self, types: Types, attributes: Attributes) -> str:
        """The class of a call; see `classes.of`."""
        return classes.of(types, attributes, flat=self.flat, telling=self.telling)


def is_processor(start: Tuning) -> bool:
    """Whether these are a processor's values: work-items never share a row there."""
    return start.lanes == 1


def of(operator: str) -> Space:
    """The space of an operator; one without fields has nothing to tune."""
    return SPACES.get(operator, Space(()))


def applied(start: Tuning, values: Values) -> Tuning:
    """The start values with others on top."""
    return replace(start, **values)  # type: ignore[arg-type]  # `refuses` checks names and types


def without_defaults(start: Tuning, values: Values) -> dict[str, Value]:
    """The same without those that say what the start says."""
    return {name: value for name, value in values.items() if not _same(value, getattr(start, name))}


def refuses(operator: str, start: Tuning, values: Values) -> str | None:
    """Why these values may not be used for an operator on this kind of device; None: they may."""
    known = {field.name: field.candidates(start) for field in of(operator).fields}
    for name, value in values.items():
        if name not in known:
            return f"{name!r:.80} is no tunable of it"
        if not any(_same(value, candidate) for candidate in known[name]):
            return f"{name} is never {value!r:.80}"
    return _refused(operator, applied(start, values))


def _refused(operator: str, tuning: Tuning) -> str | None:
    if tuning.group % WAVEFRONT or not WAVEFRONT <= tuning.group <= Limits().group:
        return f"a group of {tuning.group} is not one to four wavefronts"
    if tuning.group % tuning.lanes:
        return f"{tuning.lanes} lanes do not divide a group of {tuning.group}"
    if tuning.columns_from < tuning.column_vecs[0]:
        return f"{tuning.columns_from} columns do not fill a load of {tuning.column_vecs[0]}"
    return None if is_processor(tuning) else of(operator).registers(tuning)


def _same(value: Value, other: Value) -> bool:
    """Equal and of one type: True is not 1."""
    return type(value) is type(other) and value == other


# Vector registers counted for gfx803 by the offline compiler, over every combination of the space
# (tests/silicon holds a part of them to it): no scratch anywhere, and more than REGISTERS only in
#   gemm_f32_rows  blocks of 4 x 4: 81 (2 x 4: 59)
#   gemm_i8_rows   blocks of 2 x 4: 76 (1 x 4: 51)
#   gemm_i4_rows   blocks of 2 x 4: 68 (2 x 2: 42)
#   spmm_block     4 rows of a block and 2 loads of x: 65 to 81 (2 rows: 57)
REGISTERS = 64  # four waves per SIMD; whether five more hide its memory better, the device says


def _outputs(rows: tuple[int, ...], across: int, most: int) -> str | None:
    """Blocks of rows of x times rows of the weight, whose sums live in registers."""
    if max(rows) * across > most:
        return f"{max(rows) * across} sums per work-item take more than {REGISTERS} registers"
    return None


def _tall_blocks(tuning: Tuning) -> str | None:
    if max(tuning.spans) > 1 and tuning.tall > 2:
        return f"{tuning.tall} rows with two loads take more than {REGISTERS} registers"
    return None


_ROWS = ((1,), (2,), (4,), (8,))
_FIELDS = (
    Field("group", card=(64, 128, 256), processor=(64,)),
    Field("lanes", card=(16, 32, 64), processor=(1,)),
    Field("vec", card=(4,), processor=(4, 8, 16)),
    Field("aligned", card=(True, False), processor=(True, False)),
    Field("xrows", card=_ROWS[:3], processor=_ROWS),
    Field("code_xrows", card=_ROWS[:2], processor=_ROWS),
    Field("nibble_xrows", card=_ROWS[:2], processor=_ROWS),
    Field("byte_xrows", card=_ROWS[:2], processor=_ROWS),
    Field("nibble_wrows", card=(2, 4), processor=(2, 4, 8)),
    Field("wrows", card=(1, 2, 4), processor=(1, 2, 4, 8)),
    Field("tile_from", card=(1, None), processor=(1, None)),
    Field("column_vecs", card=((1,), (2,), (4,)), processor=((4,), (8,), (16,))),
    Field("columns_from", card=(1, 2, 4, 1024), processor=(4, 8, 16, 1024)),
    Field("spans", card=((1,), (1, 2)), processor=((1,), (1, 2), (1, 2, 4))),
    Field("lanes_per_row", card=((4,), (8,), (16,), (32,), (64,)), processor=((1,),)),
    Field("row_batches", card=_ROWS[:2], processor=_ROWS),
    Field("words", card=(True, False), processor=(True, False)),
    Field("uniform_from", card=(1, None), processor=(None,)),
    Field("uniform_vecs", card=((1,), (2,), (4,)), processor=((),)),
    Field("block_batches", card=_ROWS[:1], processor=_ROWS[:3]),
    Field("tall", card=(1, 2, 4), processor=(1, 2, 4, 8)),
    Field("uniform_tall", card=(4, 8, 16), processor=(4,)),
    Field("item_group", card=(None, 64, 128), processor=(None, 64)),
)
_BY_NAME = {field.name: field for field in _FIELDS}


def _fields(*names: str) -> tuple[Field, ...]:
    return tuple(_BY_NAME[name] for name in names)


_WIDE = ("column_vecs", "columns_from", "spans", "words", "uniform_from")
_LINES = Space(
    _fields("row_batches", "lanes_per_row", *_WIDE, "uniform_vecs"), telling=("batch_first",)
)
_ITEMS = Space(_fields("item_group"), flat=True)
SPACES: dict[str, Space] = {
    "gemm_f32": Space(
        _fields("xrows", "wrows", "vec", "lanes", "tile_from", "aligned", "group"),
        registers=lambda tuning: _outputs(tuning.xrows, tuning.wrows, 8),
    ),
    "gemm_i8": Space(
        _fields("code_xrows", "wrows", "lanes", "tile_from", "aligned", "group"),
        registers=lambda tuning: _outputs(tuning.code_xrows, tuning.wrows, 4),
    ),
    "gemm_i4": Space(
        _fields("nibble_xrows", "byte_xrows", "nibble_wrows", "lanes", "tile_from", "group"),
        telling=("x_bits",),
        registers=lambda tuning: _outputs(tuning.nibble_xrows, tuning.nibble_wrows, 4),
    ),
    **dict.fromkeys(("spmm_csr", "spmm_csc", "spmm_nm", "spmm_bitmask"), _LINES),
    "spmm_sell": Space(_fields("row_batches", *_WIDE, "uniform_vecs"), telling=("batch_first",)),
    "spmm_block": Space(
        _fields("block_batches", "lanes_per_row", *_WIDE, "tall", "uniform_tall"),
        telling=("batch_first",),
        registers=_tall_blocks,
    ),
    "sddmm_csr": Space(
        (*_fields("lanes_per_row", "words", "aligned"), replace(_BY_NAME["vec"], processor=(4, 16)))
    ),
    **dict.fromkeys(
        ("softmax", "reduce_sum", "reduce_mean", "reduce_max"), Space(_fields("lanes"))
    ),
    **dict.fromkeys(
        ("relu", "sigmoid", "tanh", "copy", "clip", "add", "mul", "cast", "lif_step"), _ITEMS
    ),
    "stdp_update": Space(_fields("item_group")),
}
