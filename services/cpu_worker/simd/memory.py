"""Vectors from and to memory; every function works inside numba-compiled code alone.

Arrays are contiguous and are read as one long line; `at` counts elements and is trusted. Stored
values are float32, float16 (as uint16 bits) or int8, and are float32 once loaded. The `some`
functions touch the first `count` lanes alone: memory beyond them is neither read nor written.
"""

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from services.cpu_worker.simd import llvm
from services.cpu_worker.simd.lanes import LanesType, VectorType, WordsType

READ, KEPT = llvm.INT32(0), llvm.INT32(3)  # llvm.prefetch: for reading, in every cache


def _loaded(context: Any, builder: Any, array: tuple[Any, Any], at: Any, width: int) -> Any:
    """`width` stored elements as they lie in memory; 0 means a scalar."""
    element, size, _ = llvm.STORED[array[0].dtype]
    kind = llvm.vector(width, element) if width else element
    return builder.load(llvm.address(context, builder, array, at), align=size, typ=kind)


def some_loaded(context: Any, builder: Any, array: tuple[Any, Any], at: Any, mask: Any) -> Any:
    """Stored elements where the mask is set, zero elsewhere."""
    element, size, letters = llvm.STORED[array[0].dtype]
    width = mask.type.count
    kind = llvm.vector(width, element)
    where = llvm.address(context, builder, array, at)
    name = f"llvm.masked.load.v{width}{letters}.p0"
    return llvm.call(builder, name, kind, [where, llvm.INT32(size), mask, llvm.zeros(kind)])


def _gathered(context: Any, builder: Any, array: tuple[Any, Any], lanes: Any, mask: Any) -> Any:
    """float32 from the places in `lanes` (unsigned integers) where the mask is set."""
    width = lanes.type.count
    if lanes.type.element.width < llvm.INT32.width:
        lanes = builder.zext(lanes, llvm.vector(width, llvm.INT32))
    kind = llvm.vector(width)
    where = llvm.addresses(context, builder, array, lanes)
    name = f"llvm.masked.gather.v{width}f32.v{width}p0"
    return llvm.call(builder, name, kind, [where, llvm.INT32(4), mask, llvm.zeros(kind)])


@intrinsic
def index(typing: Any, indices: types.Array, at: types.Type) -> Any:
    """One stored index (uint16, or an int32 that is not negative) as an integer."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held = _loaded(context, builder, (indices, given[0]), given[1], 0)
        return builder.zext(held, llvm.INT64)

    return types.intp(indices, types.intp), build


@intrinsic
def number(typing: Any, values: types.Array, at: types.Type) -> Any:
    """One stored value as a float32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held = _loaded(context, builder, (values, given[0]), given[1], 0)
        return llvm.widened(builder, values.dtype, held)

    return types.float32(values, types.intp), build


@intrinsic
def coded(typing: Any, values: types.Array) -> Any:
    """Whether stored values are int8, and so need a scale; known when code is made."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.BIT(values.dtype == types.int8)

    return types.boolean(values), build


@intrinsic
def load(typing: Any, lanes: LanesType, values: types.Array, at: types.Type) -> Any:
    """Neighbouring values from element `at` on."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        held = _loaded(context, builder, (values, given[1]), given[2], lanes.width)
        return llvm.widened(builder, values.dtype, held)

    return VectorType(lanes.width)(lanes, values, types.intp), build


@intrinsic
def load_some(
    typing: Any, lanes: LanesType, values: types.Array, at: types.Type, count: types.Type
) -> Any:
    """The first `count` of neighbouring values; the other lanes are 0."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        mask = llvm.first_lanes(builder, given[3], lanes.width)
        held = some_loaded(context, builder, (values, given[1]), given[2], mask)
        return llvm.widened(builder, values.dtype, held)

    return VectorType(lanes.width)(lanes, values, types.intp, types.intp), build


@intrinsic
def gather(
    typing: Any, lanes: LanesType, x: types.Array, indices: types.Array, at: types.Type
) -> Any:
    """x[indices[at]], x[indices[at + 1]] and so on."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        width = lanes.width
        places = _loaded(context, builder, (indices, given[2]), given[3], width)
        mask = llvm.vector(width, llvm.BIT)([1] * width)
        return _gathered(context, builder, (x, given[1]), places, mask)

    return VectorType(lanes.width)(lanes, x, indices, types.intp), build


@intrinsic
def gather_some(
    typing: Any,
    lanes: LanesType,
    x: types.Array,
    indices: types.Array,
    at: types.Type,
    count: types.Type,
) -> Any:
    """The first `count` of x[indices[at]] and so on; the other lanes are 0."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        mask = llvm.first_lanes(builder, given[4], lanes.width)
        places = some_loaded(context, builder, (indices, given[2]), given[3], mask)
        return _gathered(context, builder, (x, given[1]), places, mask)

    return VectorType(lanes.width)(lanes, x, indices, types.intp, types.intp), build


@intrinsic
def store(typing: Any, y: types.Array, at: types.Type, held: VectorType | WordsType) -> Any:
    """Write all lanes, of float32 or int32, from element `at` on."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        where = llvm.address(context, builder, (y, given[0]), given[1])
        builder.store(given[2], llvm.pointing(builder, where, given[2].type), align=4)
        return context.get_dummy_value()

    return types.void(y, types.intp, held), build


@intrinsic
def store_some(
    typing: Any, y: types.Array, at: types.Type, held: VectorType, count: types.Type
) -> Any:
    """Write the first `count` lanes from element `at` on."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        mask = llvm.first_lanes(builder, given[3], held.width)
        where = llvm.address(context, builder, (y, given[0]), given[1])
        name = f"llvm.masked.store.v{held.width}f32.p0"
        llvm.call(builder, name, llvm.NOTHING, [given[2], where, llvm.INT32(4), mask])
        return context.get_dummy_value()

    return types.void(y, types.intp, held, types.intp), build


@intrinsic
def prefetch(typing: Any, x: types.Array, at: types.Type) -> Any:
    """Ask for the cache line of element `at`, which may lie outside the array."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        where = llvm.address(context, builder, (x, given[0]), given[1])
        data = llvm.INT32(1)
        llvm.call(builder, "llvm.prefetch.p0", llvm.NOTHING, [where, READ, KEPT, data])
        return context.get_dummy_value()

    return types.void(x, types.intp), build
