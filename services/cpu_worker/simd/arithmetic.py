"""Vectors made and combined; every function works inside numba-compiled code alone."""

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from services.cpu_worker.simd import llvm
from services.cpu_worker.simd.lanes import LanesType, VectorType


@intrinsic
def width(typing: Any, lanes: LanesType) -> Any:
    """How many lanes there are."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.INT64(lanes.width)

    return types.intp(lanes), build


@intrinsic
def zero(typing: Any, lanes: LanesType) -> Any:
    """All lanes 0."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.zeros(llvm.vector(lanes.width))

    return VectorType(lanes.width)(lanes), build


@intrinsic
def splat(typing: Any, lanes: LanesType, scalar: types.Type) -> Any:
    """All lanes one float32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.splat(builder, given[1], lanes.width)

    return VectorType(lanes.width)(lanes, types.float32), build


@intrinsic
def fma(typing: Any, a: VectorType, b: VectorType, c: VectorType) -> Any:
    """a b + c, fused where the target fuses and rounded twice where it does not."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        product = builder.fmul(given[0], given[1], flags=("contract",))
        return builder.fadd(product, given[2], flags=("contract",))

    return a(a, a, a), build


@intrinsic
def add(typing: Any, a: VectorType, b: VectorType) -> Any:
    """a + b."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fadd(given[0], given[1])

    return a(a, a), build


@intrinsic
def mul(typing: Any, a: VectorType, b: VectorType) -> Any:
    """a b."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fmul(given[0], given[1])

    return a(a, a), build


@intrinsic
def rectified(typing: Any, a: VectorType) -> Any:
    """Zero where a is below zero, else a; NaN stays NaN."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        nothing = llvm.zeros(llvm.vector(a.width))
        return builder.select(builder.fcmp_ordered("<", given[0], nothing), nothing, given[0])

    return a(a), build


@intrinsic
def total(typing: Any, a: VectorType) -> Any:
    """The sum over the lanes: lane i and lane i + width / 2 first, then the halves of those.

    The width must be a power of two.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held, width = given[0], a.width
        while width > 1:
            width //= 2
            low = llvm.picked(builder, held, range(width))
            high = llvm.picked(builder, held, range(width, 2 * width))
            held = builder.fadd(low, high)
        return builder.extract_element(held, llvm.INT32(0))

    return types.float32(a), build


@intrinsic
def group_totals(typing: Any, lanes: LanesType, a: VectorType) -> Any:
    """The sums of groups of neighbours: `lanes` of them, each over width / lanes lanes of a.

    Both widths must be powers of two.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held, width = given[1], a.width
        while width > lanes.width:
            even = llvm.picked(builder, held, range(0, width, 2))
            odd = llvm.picked(builder, held, range(1, width, 2))
            held, width = builder.fadd(even, odd), width // 2
        return held

    return VectorType(lanes.width)(lanes, a), build


@intrinsic
def repeated(typing: Any, lanes: LanesType, a: VectorType) -> Any:
    """A wider vector that holds `a` again and again; `lanes` is a multiple of its width."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.picked(builder, given[1], [lane % a.width for lane in range(lanes.width)])

    return VectorType(lanes.width)(lanes, a), build


@intrinsic
def spread(typing: Any, lanes: LanesType, a: VectorType) -> Any:
    """A wider vector with every lane of `a` several times; `lanes` is a multiple of its width."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        times = lanes.width // a.width
        return llvm.picked(builder, given[1], [lane // times for lane in range(lanes.width)])

    return VectorType(lanes.width)(lanes, a), build


@intrinsic
def lane(typing: Any, a: VectorType, at: types.Type) -> Any:
    """One lane as a float32; `at` is trusted."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.extract_element(given[0], given[1])

    return types.float32(a, types.intp), build
