"""Thresholds of whole vectors, and sums of int32; for use inside numba-compiled code alone."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from services.cpu_worker.simd import llvm
from services.cpu_worker.simd.lanes import VectorType, WordsType


@intrinsic
def plus(typing: Any, a: WordsType, b: WordsType) -> Any:
    """a + b of int32, modulo 2**32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.add(given[0], given[1])

    return a(a, a), build


@intrinsic
def above(typing: Any, values: VectorType, threshold: types.Type, word: types.Type) -> Any:
    """A bit per lane that is strictly above a float32: of the 32 lanes from 32 `word` on."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        bits = ir.IntType(values.width)
        whole = builder.bitcast(_higher(builder, given, values.width), bits)
        places = builder.mul(builder.zext(builder.trunc(given[2], llvm.INT8), bits), bits(32))
        return builder.trunc(builder.lshr(whole, places), llvm.INT32)

    return types.uint32(values, types.float32, types.intp), build


@intrinsic
def chosen(
    typing: Any, values: VectorType, threshold: types.Type, yes: VectorType, no: VectorType
) -> Any:
    """`yes` in the lanes that are strictly above a float32, `no` in the others."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.select(_higher(builder, given, values.width), given[2], given[3])

    return values(values, types.float32, values, values), build


def _higher(builder: Any, given: Any, width: int) -> Any:
    return builder.fcmp_ordered(">", given[0], llvm.splat(builder, given[1], width))
