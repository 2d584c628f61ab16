"""Any layout of a matrix into any other. Dense is one of them; quantized weights are not.

What is stored stays stored, with two exceptions: BLOCK and N:M cannot tell a stored zero from
padding, so zeros leave them as elements that are not stored. A value type is kept. For f32 and f16
every conversion is exact; codes (i8) are moved as they are between layouts with a scale per row,
and rounded anew, to half of a new scale, on the way to or from CSC and BLOCK.
"""

from dataclasses import dataclass, replace

import numpy as np

from shared.sparse import bitmask, compressed, narrow, nm, sell
from shared.sparse import block as blocks
from shared.sparse.compressed import Axis, Compressed
from shared.tensors import check
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense

_SCALED_BY_ROW = SPARSE - {Layout.CSC, Layout.BLOCK}


@dataclass(frozen=True, slots=True)
class _Form:
    """What a layout leaves open."""

    block: tuple[int, int]
    pattern: tuple[int, int] | None
    sigma: int | None

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor of the right layout already has this form."""
        match tensor.layout:
            case Layout.BLOCK:
                return tensor.parts["values"].shape[1:] == self.block
            case Layout.NM:
                return self.pattern in (None, tuple(tensor.parts["pattern"].tolist()))
        return tensor.layout is not Layout.SELL or self.sigma is None


def to_layout(
    tensor: Tensor,
    layout: Layout,
    *,
    block: tuple[int, int] = (16, 16),
    pattern: tuple[int, int] | None = None,
    sigma: int | None = None,
) -> Tensor:
    """The same matrix in another layout; in the same one, it is returned as it is.

    Args:
        tensor: a sparse layout, or DENSE f32 or f16.
        layout: a sparse layout, or DENSE, which is f32.
        block: height and width, for BLOCK.
        pattern: n and m, for N:M; None for the smallest n of 4 that holds the matrix.
        sigma: rows of a sorting window, for SELL; None for the whole matrix.

    Returns:
        The value type of `tensor`, and 16-bit indices where it has such and they suffice.

    Raises:
        ValueError: parts that do not fit (see tensors.check), another layout, a matrix that the
            layout cannot hold, or repeated elements whose sum the value type cannot hold.
    """
    check.tensor(tensor)
    if layout is Layout.DENSE:
        return dense(to_dense(tensor))
    if layout not in SPARSE:
        raise ValueError(f"{layout} is no layout of a sparse matrix; quantize it instead")
    form = _Form(block, pattern, sigma)
    if tensor.layout is layout and form.fits(tensor):
        return tensor
    made = _moved(tensor, layout, form)
    short = "indices" in tensor.parts and tensor.parts["indices"].dtype == np.uint16
    return narrow.compact(made) if short else made


def to_csr(tensor: Tensor) -> Compressed:
    """The stored elements as canonical CSR: float32 values, int32 indices.

    Args:
        tensor: a sparse layout, or DENSE f32 or f16.

    Raises:
        ValueError: parts that do not fit (see tensors.check), or another layout or type.
    """
    return _rows(check.tensor(tensor))


def to_dense(tensor: Tensor) -> F32:
    """The (rows, cols) float32 array with its zeros; elements of one place are added.

    Args:
        tensor: a sparse layout, or DENSE f32 or f16.

    Raises:
        ValueError: as `to_csr`.
    """
    if tensor.layout is Layout.DENSE:
        return _plain(check.tensor(tensor))
    return compressed.expand(to_csr(tensor))


def _moved(tensor: Tensor, layout: Layout, form: _Form) -> Tensor:
    if tensor.dtype is Dtype.I8 and {tensor.layout, layout} <= _SCALED_BY_ROW:
        codes = _packed(_rows(_unscaled(tensor)), layout, form)
        if np.abs(narrow.widen(codes)).max(initial=0.0) <= narrow.TOP:  # repeats may add to more
            return _scaled(codes, tensor)
    return narrow.narrow(_packed(_rows(tensor), layout, form), tensor.dtype)


def _unscaled(tensor: Tensor) -> Tensor:
    """The codes themselves as float32, which holds each of them exactly."""
    parts = {name: part for name, part in tensor.parts.items() if name != "scale"}
    codes = {"values": tensor.parts["values"].astype(np.float32)}
    return replace(tensor, dtype=Dtype.F32, parts=parts | codes)


def _scaled(codes: Tensor, tensor: Tensor) -> Tensor:
    """Undo `_unscaled` with the scales of `tensor`."""
    values = {"values": codes.parts["values"].astype(np.int8), "scale": tensor.parts["scale"]}
    return replace(codes, dtype=Dtype.I8, parts={**codes.parts, **values})


def _packed(matrix: Compressed, layout: Layout, form: _Form) -> Tensor:
    match layout:
        case Layout.CSC:
            return compressed.to_tensor(compressed.turned(matrix, Axis.COLUMNS))
        case Layout.BLOCK:
            return blocks.pack(matrix, block=form.block)
        case Layout.SELL:
            return sell.pack(matrix, sigma=form.sigma)
        case Layout.BITMASK:
            return bitmask.pack(matrix)
        case Layout.NM:
            return nm.pack(matrix, pattern=form.pattern)
    return compressed.to_tensor(matrix)


def _rows(tensor: Tensor) -> Compressed:
    wide = tensor if tensor.layout is Layout.DENSE else narrow.widened(tensor)
    match tensor.layout:
        case Layout.DENSE:
            return compressed.compress(_plain(tensor))
        case Layout.BLOCK:
            return blocks.unpack(wide)
        case Layout.SELL:
            return compressed.canonical(sell.unpack(wide))
        case Layout.BITMASK:
            return bitmask.unpack(wide)
        case Layout.NM:
            return nm.unpack(wide)
    return compressed.by_rows(compressed.from_tensor(wide))


def _plain(tensor: Tensor) -> F32:
    if tensor.dtype not in (Dtype.F32, Dtype.F16):
        raise ValueError(f"a dense matrix must be f32 or f16 here, got {tensor.dtype}")
    return tensor.values.astype(np.float32, copy=False)
