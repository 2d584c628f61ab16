"""Bits of a word of 64, one instruction each; for use inside numba-compiled code alone."""

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from services.cpu_worker.simd import llvm


@intrinsic
def lowest(typing: Any, word: types.Type) -> Any:
    """The place of the lowest bit that is set; 64 where none is."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], llvm.BIT(0))

    return types.int64(types.uint64), build


@intrinsic
def ones(typing: Any, word: types.Type) -> Any:
    """How many bits are set."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.ctpop(given[0])

    return types.int64(types.uint64), build
