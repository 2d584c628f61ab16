"""Spikes of whole vectors, and the whole numbers that they are made of; for use inside
numba-compiled code alone."""

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from services.cpu_worker.simd import llvm
from services.cpu_worker.simd.lanes import LanesType, VectorType, WordsType

PLACES = 24  # binary places of a share; see `spiking.rates`


@intrinsic
def load_codes(typing: Any, lanes: LanesType, codes: Any, at: types.Type) -> Any:
    """Neighbouring int32, or int16 made int32, from element `at` on."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        element, size, _ = llvm.STORED[codes.dtype]
        where = llvm.address(context, builder, (codes, given[1]), given[2])
        held = builder.load(where, align=size, typ=llvm.vector(lanes.width, element))
        return held if size == 4 else builder.sext(held, llvm.vector(lanes.width, llvm.INT32))

    return WordsType(lanes.width)(lanes, codes, types.intp), build


@intrinsic
def plus(typing: Any, a: WordsType, b: WordsType) -> Any:
    """a + b of int32, modulo 2**32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.add(given[0], given[1])

    return a(a, a), build


@intrinsic
def above(typing: Any, values: VectorType, threshold: types.Type) -> Any:
    """A bit per lane, of 32, that is strictly above a float32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(_higher(builder, given[0], given[1]), llvm.INT32)

    return types.uint32(values, types.float32), build


@intrinsic
def below(typing: Any, a: WordsType, b: WordsType) -> Any:
    """A bit per lane, of 32, in which a < b."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(builder.icmp_signed("<", given[0], given[1]), llvm.INT32)

    return types.uint32(a, a), build


@intrinsic
def chosen(
    typing: Any, values: VectorType, threshold: types.Type, yes: VectorType, no: VectorType
) -> Any:
    """`yes` in the lanes that are strictly above a float32, `no` in the others."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.select(_higher(builder, given[0], given[1]), given[2], given[3])

    return values(values, types.float32, values, values), build


@intrinsic
def clipped(typing: Any, values: VectorType) -> Any:
    """Numbers from 0 to 1; others count as the nearer end, NaN as 0."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = llvm.vector(values.width)
        nothing, whole = llvm.zeros(kind), kind([1.0] * values.width)
        positive = builder.select(builder.fcmp_ordered(">", given[0], nothing), given[0], nothing)
        return builder.select(builder.fcmp_ordered("<", positive, whole), positive, whole)

    return values(values), build


@intrinsic
def shares(typing: Any, values: VectorType) -> Any:
    """Numbers from 0 to 1 times 2**24, rounded half to even."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = llvm.vector(values.width)
        scaled = builder.fmul(given[0], kind([float(1 << PLACES)] * values.width))
        rounded = llvm.call(builder, f"llvm.rint.v{values.width}f32", kind, [scaled])
        return builder.fptosi(rounded, llvm.vector(values.width, llvm.INT32))

    return WordsType(values.width)(values), build


def _higher(builder: Any, values: Any, threshold: Any) -> Any:
    return builder.fcmp_ordered(">", values, llvm.splat(builder, threshold, values.type.count))
