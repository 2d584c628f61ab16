"""INT4 weights as gemm_i4 reads them: steps of 32 columns, two rows to a word, codes without sign.

A word holds columns 4 i to 4 i + 3 of an even row in its low half and of the odd row after it in
its high half, each as code + 8 in four bits. A group of columns that share a scale begins with a
step of its own, and several groups have a power of two of steps each, so that a step's group is a
shift.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shared.tensors import packing
from shared.tensors.dtypes import I8, U8, Array
from shared.tensors.layouts import TensorType

STEP = 32  # columns
ZERO = 8  # how the code 0 is stored
_TWO_ZEROS = ZERO | ZERO << 4


@dataclass(frozen=True, slots=True)
class Cut:
    """How rows of a matrix are cut into steps."""

    columns: int  # of a row
    groups: int  # of a row

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.columns // self.groups if self.groups else 0

    @property
    def shift(self) -> int:
        """Binary logarithm of the steps of a group; 31 where one group is the whole row."""
        return 31 if self.groups < 2 else (-(-self.group // STEP) - 1).bit_length()

    @property
    def width(self) -> int:
        """Columns from one group to the next, those that fill up its last step included."""
        return -(-self.group // STEP) * STEP if self.groups < 2 else STEP << self.shift

    @property
    def steps(self) -> int:
        """Steps of a row."""
        return self.width * self.groups // STEP

    @property
    def whole(self) -> bool:
        """Whether every group is made of whole steps, so that x needs no spreading."""
        return self.width == self.group


def pair_rows(parts: Mapping[str, Array], kind: TensorType) -> dict[str, Array]:
    """Host parts of an INT4 tensor to those of the device.

    Args:
        parts: codes (rows, ceil(cols / 2)) uint8, scale (rows, groups) float32.
        kind: its type.

    Returns:
        codes (pairs, 8 steps) uint32, scale as it was.
    """
    rows, columns = _shape(kind)
    cut = Cut(columns, parts["scale"].shape[1])
    pairs = -(-rows // 2)
    packed: U8 = np.full((2 * pairs, cut.steps * STEP // 2), _TWO_ZEROS, np.uint8)
    packed[:rows] = _filled(parts["codes"].view(np.uint8), cut)
    halves = packed.reshape(pairs, 2, cut.steps * 8, 2).swapaxes(1, 2)
    words: Array = np.ascontiguousarray(halves).reshape(pairs, cut.steps * STEP).view("<u4")
    return {**parts, "codes": words}


def split_rows(parts: Mapping[str, Array], kind: TensorType) -> dict[str, Array]:
    """Undo `pair_rows`."""
    rows, columns = _shape(kind)
    cut = Cut(columns, parts["scale"].shape[1])
    pairs = parts["codes"].shape[0]
    halves = parts["codes"].view(np.uint8).reshape(pairs, cut.steps * 8, 2, 2).swapaxes(1, 2)
    packed: U8 = np.ascontiguousarray(halves).reshape(2 * pairs, cut.steps * STEP // 2)
    packed = packed[:rows] ^ np.uint8(_TWO_ZEROS)
    if cut.whole and columns % 2 == 0:
        return {**parts, "codes": packed}
    codes = packing.split_nibbles(packed, cut.steps * STEP)
    inside: I8 = codes.reshape(rows, cut.groups, cut.width)[:, :, : cut.group]
    return {**parts, "codes": packing.join_nibbles(inside.reshape(rows, columns))}


def _filled(packed: U8, cut: Cut) -> U8:
    """Codes with their sign bit flipped, which adds 8, each group filled up with zeros."""
    if cut.whole and cut.columns % 2 == 0:
        return packed ^ np.uint8(_TWO_ZEROS)
    rows = packed.shape[0]
    codes: I8 = np.zeros((rows, cut.groups, cut.width), np.int8)
    inside = packing.split_nibbles(packed, cut.columns)
    codes[:, :, : cut.group] = inside.reshape(rows, cut.groups, cut.group)
    return packing.join_nibbles(codes.reshape(rows, -1)) ^ np.uint8(_TWO_ZEROS)


def _shape(kind: TensorType) -> tuple[int, int]:
    rows, columns = kind.shape
    return rows or 0, columns or 0
