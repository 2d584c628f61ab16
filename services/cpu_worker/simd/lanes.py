"""Several float32, or several int32, side by side as an ordinary local of a numba function.

`Lanes(16)` names a width; it is a constant inside a compiled function, or an argument whose width
is part of the function's signature. `zero(lanes)`, `load(lanes, ...)` and their kin make a vector
of that width. Any width will do: LLVM splits ``<64 x float>`` into as many registers as the target
has, four on AVX-512 and eight on AVX2, and nothing here names an instruction of one processor.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    models,
    register_model,
    typeof_impl,
    unbox,
)


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many float32 a vector holds."""

    width: int


class LanesType(types.Dummy):
    """The numba type of one `Lanes`: the width is known when code is made."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(f"Lanes({width})")


class VectorType(types.Type):
    """The numba type of `width` float32 in registers."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(f"Vector({width} x float32)")


class WordsType(types.Type):
    """The numba type of `width` int32 in registers; four bytes each where `integers` says so."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(f"Words({width} x int32)")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.FloatType(), kind.width))


@register_model(WordsType)
class _WordsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: WordsType) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(32), kind.width))


register_model(LanesType)(models.OpaqueModel)


@typeof_impl.register(Lanes)
def _typeof_lanes(value: Lanes, context: Any) -> LanesType:
    return _type_of(value.width)


@cache
def _type_of(width: int) -> LanesType:
    """One type per width: each call of a kernel asks for it, and making one anew is not cheap."""
    return LanesType(width)


@lower_constant(LanesType)
def _lanes_constant(context: Any, builder: Any, kind: LanesType, value: Lanes) -> Any:
    return context.get_dummy_value()


@unbox(LanesType)
def _unbox_lanes(kind: LanesType, value: Any, machine: Any) -> NativeValue:
    return NativeValue(machine.context.get_dummy_value())
