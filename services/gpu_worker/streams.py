"""Weights of 2 to 8 bits as gemm_int reads them: steps of 32 columns, so many words as bits.

A group of columns that share a scale begins with a step of its own, see `nibbles.Cut`; x is zero
where it is filled up, so that codes there count for nothing.
"""

from collections.abc import Mapping

import numpy as np

from services.gpu_worker.nibbles import STEP, Cut
from shared.tensors import packing
from shared.tensors.dtypes import U8, Array
from shared.tensors.layouts import TensorType


def in_steps(parts: Mapping[str, Array], kind: TensorType) -> dict[str, Array]:
    """Host parts of an INT_GROUP tensor to those of the device.

    Returns:
        codes (rows, steps bits) uint32; zero float32, as a card loads words; the rest unchanged.
    """
    (rows, columns), cut, bits = kind.shape, _cut(parts, kind), int(parts["bits"][0])
    packed: U8 = parts["codes"].view(np.uint8)
    if not cut.whole:
        filled: U8 = np.zeros((rows or 0, cut.groups, cut.width), np.uint8)
        inside = packing.split_bits(packed, columns or 0, bits)
        filled[:, :, : cut.group] = inside.reshape(rows or 0, cut.groups, cut.group)
        packed = packing.join_bits(filled.reshape(rows or 0, -1), bits)
    words: Array = np.ascontiguousarray(packed).view("<u4").reshape(rows or 0, cut.steps * bits)
    return {**parts, "codes": words, "zero": parts["zero"].astype(np.float32)}


def as_stream(parts: Mapping[str, Array], kind: TensorType) -> dict[str, Array]:
    """Undo `in_steps`."""
    (rows, columns), cut, bits = kind.shape, _cut(parts, kind), int(parts["bits"][0])
    packed: U8 = parts["codes"].view(np.uint8).reshape(rows or 0, cut.steps * bits * 4)
    if not cut.whole:
        whole = packing.split_bits(packed, cut.steps * STEP, bits)
        inside = whole.reshape(rows or 0, cut.groups, cut.width)[:, :, : cut.group]
        packed = packing.join_bits(np.ascontiguousarray(inside).reshape(rows or 0, -1), bits)
    codes = packed.reshape(rows or 0, -(-(columns or 0) * bits // 8))
    return {**parts, "codes": codes, "zero": parts["zero"].astype(np.uint8)}


def _cut(parts: Mapping[str, Array], kind: TensorType) -> Cut:
    return Cut(kind.shape[1] or 0, parts["scale"].shape[1])
