"""Vectors of int32, and of the bytes in them; for use inside numba-compiled code alone.

A word is an int32 lane. `dot` reads its operands as four bytes a word: on a processor with VNNI
that is one instruction. A target's own instruction is named only where the features that numba
compiles for include it: LLVM ends the process over one that the target lacks.
"""

from typing import Any

from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from services.cpu_worker.simd import llvm, memory
from services.cpu_worker.simd.lanes import LanesType, VectorType, WordsType

BYTES = 4  # of a word
WAYS = (("+avx512vnni", 16), ("+avxvnni", 8))  # feature -> words of its widest dot product


@intrinsic
def no_words(typing: Any, lanes: LanesType) -> Any:
    """All lanes 0."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.zeros(llvm.vector(lanes.width, llvm.INT32))

    return WordsType(lanes.width)(lanes), build


@intrinsic
def load_words(typing: Any, lanes: LanesType, values: types.Array, at: types.Type) -> Any:
    """Neighbouring bytes from element `at` of an array of bytes on, four to a word."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        where = llvm.address(context, builder, (values, given[1]), given[2])
        kind = llvm.vector(lanes.width, llvm.INT32)
        return builder.load(llvm.pointing(builder, where, kind), align=1, typ=kind)

    return WordsType(lanes.width)(lanes, values, types.intp), build


@intrinsic
def load_some_words(
    typing: Any, lanes: LanesType, values: types.Array, at: types.Type, count: types.Type
) -> Any:
    """The first `count` of neighbouring bytes; the others are 0 and are not touched."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        mask = llvm.first_lanes(builder, given[3], BYTES * lanes.width)
        held = memory.some_loaded(context, builder, (values, given[1]), given[2], mask)
        return builder.bitcast(held, llvm.vector(lanes.width, llvm.INT32))

    return WordsType(lanes.width)(lanes, values, types.intp, types.intp), build


@intrinsic
def load_fields(typing: Any, values: types.Array, at: types.Type, bits: types.Type) -> Any:
    """Eight unsigned numbers of 1 to 8 bits from byte `at` on, the lowest bits first.

    Eight bytes are read, however many bits are wanted.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        wide = llvm.vector(8, llvm.INT64)
        where = llvm.address(context, builder, (values, given[0]), given[1])
        octets = builder.load(where, align=1, typ=llvm.INT64)
        step = llvm.splat(builder, given[2], 8)
        places = builder.mul(step, wide(list(range(8))))
        moved = builder.lshr(llvm.splat(builder, octets, 8), places)
        ones = builder.sub(builder.shl(wide([1] * 8), step), wide([1] * 8))
        return builder.trunc(builder.and_(moved, ones), llvm.vector(8, llvm.INT32))

    return WordsType(8)(values, types.intp, types.int64), build


@intrinsic
def repeated_words(typing: Any, lanes: LanesType, words: WordsType) -> Any:
    """A wider vector that holds `words` again and again; `lanes` is a multiple of its width."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return llvm.picked(builder, given[1], [at % words.width for at in range(lanes.width)])

    return WordsType(lanes.width)(lanes, words), build


@intrinsic
def masked(typing: Any, words: WordsType, mask: types.Type) -> Any:
    """The bits of every word that are set in `mask`."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.and_(given[0], llvm.splat(builder, given[1], words.width))

    return words(words, types.int32), build


@intrinsic
def flipped(typing: Any, words: WordsType, mask: types.Type) -> Any:
    """Every word with the bits of `mask` turned over."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.xor(given[0], llvm.splat(builder, given[1], words.width))

    return words(words, types.int32), build


@intrinsic
def shifted(typing: Any, words: WordsType, places: types.Type) -> Any:
    """Every word some bits to the right; zeros come in from the left."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.lshr(given[0], llvm.splat(builder, given[1], words.width))

    return words(words, types.int32), build


@intrinsic
def numbers(typing: Any, words: WordsType) -> Any:
    """Every word as the nearest float32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.sitofp(given[0], llvm.vector(words.width))

    return VectorType(words.width)(words), build


@intrinsic
def word_totals(typing: Any, lanes: LanesType, words: WordsType) -> Any:
    """The sums of groups of neighbours, see `arithmetic.group_totals`; exact modulo 2**32."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _neighbours(builder, given[1], words.width, lanes.width)

    return WordsType(lanes.width)(lanes, words), build


@intrinsic
def word(typing: Any, words: WordsType, at: types.Type) -> Any:
    """One lane as an int32; `at` is trusted."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.extract_element(given[0], given[1])

    return types.int32(words, types.intp), build


@intrinsic
def dot(typing: Any, sums: WordsType, unsigned: WordsType, signed: WordsType) -> Any:
    """Every sum plus the four products of the bytes in its lane; exact modulo 2**32.

    The bytes of the second operand are 0..255, those of the third -128..127.
    """

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        piece = _words_of_a_dot(context)
        if piece is None or sums.width % piece:
            return _plain_dot(builder, given, sums.width)
        made = [_dot(builder, given, range(at, at + piece)) for at in range(0, sums.width, piece)]
        return _joined(builder, made)

    return sums(sums, unsigned, signed), build


def available() -> bool:
    """Whether `dot` is an instruction of the processor that is compiled for."""
    return _words_of_a_dot(cpu_target.target_context) is not None


def _words_of_a_dot(context: Any) -> int | None:
    """Words of the widest dot product of the processor that is compiled for; None without one."""
    features = context.codegen().magic_tuple()[2].split(",")
    return next((words for feature, words in WAYS if feature in features), None)


def _dot(builder: Any, given: Any, lanes: range) -> Any:
    """One instruction's worth of `dot`."""
    sums, unsigned, signed = (llvm.picked(builder, held, lanes) for held in given)
    octets = llvm.vector(BYTES * len(lanes), llvm.INT8)
    parts = [sums, builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)]
    name = f"llvm.x86.avx512.vpdpbusd.{32 * len(lanes)}"
    return llvm.call(builder, name, sums.type, parts)


def _plain_dot(builder: Any, given: Any, width: int) -> Any:
    """`dot` in portable steps: a product fits 16 bits, 255 × -128 being the largest."""
    octets, wide = (llvm.vector(BYTES * width, kind) for kind in (llvm.INT8, llvm.INT16))
    unsigned = builder.zext(builder.bitcast(given[1], octets), wide)
    signed = builder.sext(builder.bitcast(given[2], octets), wide)
    products = builder.mul(unsigned, signed)
    exact = builder.sext(products, llvm.vector(BYTES * width, llvm.INT32))
    return builder.add(given[0], _neighbours(builder, exact, BYTES * width, width))


def _neighbours(builder: Any, held: Any, width: int, wanted: int) -> Any:
    while width > wanted:
        even = llvm.picked(builder, held, range(0, width, 2))
        odd = llvm.picked(builder, held, range(1, width, 2))
        held, width = builder.add(even, odd), width // 2
    return held


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors of one width after each other; their number is a power of two."""
    while len(parts) > 1:
        lanes = 2 * parts[0].type.count
        order = llvm.vector(lanes, llvm.INT32)(list(range(lanes)))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [builder.shuffle_vector(low, high, order) for low, high in pairs]
    return parts[0]
