"""What must hold between the parts of a tensor, per layout; every door from outside asks this.

The sparse layouts are held by check_sparse, with the rules that are theirs alone.
"""

from collections.abc import Callable

import numpy as np

from shared.tensors import check_sparse
from shared.tensors.dtypes import U32, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, parts_of
from shared.tensors.packing import WORD_BITS
from shared.tensors.requirements import matrix, require_dtype, require_shape, scales


def tensor(held: Tensor) -> Tensor:
    """Return `held` when its parts fit its layout, dtype and shape.

    Time is linear in the parts. Values are not judged: NaN is a value.

    Raises:
        ValueError: a part is missing or unknown, has another dtype or shape than the layout
            says, or an index is out of range.
    """
    wanted = parts_of(held.layout, held.dtype)
    if set(held.parts) != set(wanted):
        given, needed = sorted(held.parts), sorted(wanted)
        kind = held.layout if held.layout not in SPARSE else f"{held.layout} of {held.dtype}"
        raise ValueError(f"layout {kind} has the parts {needed}, got {given}")
    if held.layout in SPARSE:
        check_sparse.tensor(held)
    else:
        _CHECKS[held.layout](held)
    return held


def _dense(held: Tensor) -> None:
    values = held.parts["values"]
    require_dtype("values", values, held.dtype)
    require_shape("values", values, held.shape)
    if held.dtype is Dtype.BOOL and values.size and values.view(np.uint8).max() > 1:
        raise ValueError(f"bool bytes are 0 or 1, got {values.view(np.uint8).max()}")


def _int8_channel(held: Tensor) -> None:
    rows, cols = _quantized(held, Dtype.I8)
    require_shape("codes", held.parts["codes"], (rows, cols))
    require_shape("scale", held.parts["scale"], (rows, 1))


def _int4_group(held: Tensor) -> None:
    rows, cols = _quantized(held, Dtype.U8)
    require_shape("codes", held.parts["codes"], (rows, -(-cols // 2)))
    scale = held.parts["scale"]
    groups = scale.shape[1] if scale.ndim == 2 else 0
    if scale.shape != (rows, groups) or (cols and (not groups or cols % groups)):
        raise ValueError(f"scale must be ({rows}, groups that divide {cols}), got {scale.shape}")


def _int_group(held: Tensor) -> None:
    rows, cols = _quantized(held, Dtype.U8)
    require_dtype("bits", held.parts["bits"], Dtype.U8)
    require_shape("bits", held.parts["bits"], (1,))
    bits = int(held.parts["bits"][0])
    if not 2 <= bits <= 8:
        raise ValueError(f"codes have 2 to 8 bits, got {bits}")
    require_shape("codes", held.parts["codes"], (rows, -(-cols * bits // 8)))
    scale, zero = held.parts["scale"], held.parts["zero"]
    groups = scale.shape[1] if scale.ndim == 2 else 0
    if scale.shape not in {(rows, groups), (1, groups)}:
        raise ValueError(f"scale must be ({rows} or 1, groups), got {scale.shape}")
    if cols and (not groups or cols % groups):
        raise ValueError(f"scale has {groups} groups, which do not divide {cols} columns")
    require_dtype("zero", zero, Dtype.U8)
    if zero.shape not in {scale.shape, (1, 1)}:
        raise ValueError(f"zero must have shape {scale.shape} or (1, 1), got {zero.shape}")
    if zero.size and int(zero.view(np.uint8).max()) >> bits:
        raise ValueError(f"zero must be a code of {bits} bits, got {zero.view(np.uint8).max()}")


def _quantized(held: Tensor, codes: Dtype) -> tuple[int, int]:
    require_dtype("codes", held.parts["codes"], codes)
    if held.dtype is not Dtype.F32:
        raise ValueError(f"elements of {held.layout} are f32, got {held.dtype}")
    scales(held.parts["scale"])
    return matrix(held)


def _spike_bits(held: Tensor) -> None:
    words = held.parts["words"]
    require_dtype("words", words, Dtype.U32)
    if held.dtype not in {Dtype.F32, Dtype.BOOL}:
        raise ValueError(f"spikes are read as f32 or bool, got {held.dtype}")
    if not held.shape:
        raise ValueError("spike bits need at least one dimension, got shape ()")
    count = held.shape[-1]
    require_shape("words", words, (*held.shape[:-1], -(-count // WORD_BITS)))
    used = count % WORD_BITS
    last: U32 = words.view(np.uint32)[..., -1:]
    if used and (last >> np.uint32(used)).any():
        raise ValueError(f"bits above neuron {count} of the last word must be zero")


_CHECKS: dict[Layout, Callable[[Tensor], None]] = {
    Layout.DENSE: _dense,
    Layout.INT8_CHANNEL: _int8_channel,
    Layout.INT4_GROUP: _int4_group,
    Layout.INT_GROUP: _int_group,
    Layout.SPIKE_BITS: _spike_bits,
}
