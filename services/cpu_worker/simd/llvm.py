"""The LLVM pieces that the vector operations are built from: addresses, masks, conversions."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

FLOAT = ir.FloatType()
INT8 = ir.IntType(8)
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
BIT = ir.IntType(1)
POINTER = ir.PointerType()
NOTHING = ir.VoidType()

# numba element type -> how it lies in memory, its bytes, its letters in an intrinsic's name
STORED = {
    types.float32: (FLOAT, 4, "f32"),
    types.int32: (INT32, 4, "i32"),
    types.int64: (INT64, 8, "i64"),
    types.uint16: (INT16, 2, "i16"),  # a column number, or the bits of a float16
    types.int16: (INT16, 2, "i16"),  # a code
    types.int8: (INT8, 1, "i8"),
    types.uint8: (INT8, 1, "i8"),  # bytes that `integers` takes apart
}


def vector(width: int, element: ir.Type = FLOAT) -> ir.VectorType:
    """The LLVM type of `width` elements."""
    return ir.VectorType(element, width)


def zeros(kind: ir.Type) -> ir.Constant:
    """Zero of a scalar or vector type."""
    return ir.Constant(kind, None)


def splat(builder: Any, scalar: Any, width: int) -> Any:
    """One scalar in all lanes."""
    blank = ir.Constant(vector(width, scalar.type), ir.Undefined)
    first = builder.insert_element(blank, scalar, INT32(0))
    return builder.shuffle_vector(first, blank, zeros(vector(width, INT32)))


def first_lanes(builder: Any, count: Any, width: int) -> Any:
    """A mask with the first `count` lanes set.

    Args:
        count: a 64-bit integer, 0 or more; beyond `width` every lane is set.
    """
    numbers = ir.Constant(vector(width, INT64), list(range(width)))
    return builder.icmp_signed("<", numbers, splat(builder, count, width))


def address(context: Any, builder: Any, array: tuple[Any, Any], at: Any) -> Any:
    """Where element `at` of a contiguous array lies.

    Args:
        array: the array's numba type and its value.
        at: element number, 64 bits.
    """
    kind, value = array
    start = context.make_array(kind)(context, builder, value).data
    return builder.gep(start, [at], source_etype=STORED[kind.dtype][0])


def pointing(builder: Any, where: Any, kind: ir.Type) -> Any:
    """The same address, said to hold another type; LLVM ignores it, llvmlite checks it."""
    return builder.bitcast(where, kind.as_pointer())


def addresses(context: Any, builder: Any, array: tuple[Any, Any], lanes: Any) -> Any:
    """Where the elements numbered by a vector of integers lie; see `address`."""
    kind, value = array
    start = context.make_array(kind)(context, builder, value).data
    element = STORED[kind.dtype][0]
    found = ir.GEPInstr(builder.block, start, [lanes], False, "", source_etype=element)
    found.type = ir.VectorType(POINTER, lanes.type.count)  # llvmlite knows scalar addresses alone
    builder._insert(found)
    return found


def widened(builder: Any, element: types.Type, held: Any) -> Any:
    """Stored values, scalar or vector, as float32: uint16 are float16 bits, bytes are numbers."""
    if element == types.float32:
        return held
    lanes = held.type.count if isinstance(held.type, ir.VectorType) else 0
    if element == types.uint16:
        half, wide = ir.HalfType(), FLOAT
        held = builder.bitcast(held, vector(lanes, half) if lanes else half)
        return builder.fpext(held, vector(lanes, wide) if lanes else wide)
    turned = builder.uitofp if element == types.uint8 else builder.sitofp
    return turned(held, vector(lanes) if lanes else FLOAT)


def picked(builder: Any, held: Any, lanes: Sequence[int]) -> Any:
    """A vector of some lanes of another, of any element type."""
    blank = ir.Constant(held.type, ir.Undefined)
    return builder.shuffle_vector(held, blank, vector(len(lanes), INT32)(list(lanes)))


def call(builder: Any, name: str, returns: ir.Type, arguments: list[Any]) -> Any:
    """Call one of LLVM's portable intrinsics."""
    kind = ir.FunctionType(returns, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
