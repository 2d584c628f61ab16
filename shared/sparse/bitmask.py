"""Bitmask: one bit per element of the matrix, and the stored values row after row.

It costs an eighth of a byte for every element, stored or not, and no index: below about 94 %
sparsity it is smaller than 16-bit indices.
"""

import numpy as np

from shared.sparse import compressed, order
from shared.sparse.compressed import Axis, Compressed
from shared.tensors import packing
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor
from shared.tensors.packing import WORD_BITS


def pack(matrix: Compressed) -> Tensor:
    """Mark the stored elements; an element that is stored as zero has its bit, too.

    Args:
        matrix: (rows, cols), any value type; read as float32.

    Returns:
        BITMASK f32; bit i of word w of a row is column 32 w + i.

    Raises:
        ValueError: parts that do not fit (see tensors.check).
    """
    held = compressed.by_rows(matrix)
    rows, cols = held.shape
    width = -(-cols // WORD_BITS)
    word = order.lines(held.indptr).astype(np.int64) * width + held.indices // WORD_BITS
    # Bits of one word are distinct powers of two below 2^32, so their float64 sum is exact.
    bits = np.ldexp(1.0, held.indices % WORD_BITS)
    words = np.bincount(word, weights=bits, minlength=rows * width).astype(np.uint32)
    parts = {
        "words": words.reshape(rows, width),
        "starts": held.indptr,
        "values": held.values,
    }
    return Tensor(Layout.BITMASK, Dtype.F32, (rows, cols), parts)


def unpack(tensor: Tensor) -> Compressed:
    """The stored elements as CSR of float32, over the same values and row starts.

    Args:
        tensor: BITMASK f32 (see narrow.widened otherwise); its parts are trusted.
    """
    rows, cols = tensor.shape
    bits = packing.split_spikes(tensor.parts["words"].view(np.uint32), cols)
    places = np.flatnonzero(bits) % max(cols, 1)
    values: F32 = tensor.parts["values"].view(np.float32)
    starts = tensor.parts["starts"].view(np.int32)
    return Compressed(Axis.ROWS, (rows, cols), starts, places.astype(np.int32), values)
