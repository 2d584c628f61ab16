"""Quantized weights by BLAS on float32: always there, and the measure of the compiled kernels."""

from dataclasses import dataclass

import numpy as np

from services.cpu_worker.integer.weight import Grouped, Summing
from shared.quantization import affine
from shared.tensors.dtypes import F32, I8, I32
from shared.tensors.layouts import Layout, Tensor

EXACT = 1024  # columns of which every sum of products of bytes is below 2**24, exact in float32


@dataclass(frozen=True, slots=True, eq=False)
class Values(Grouped):
    """Every value as float32; see `weight.Grouped`."""

    values: F32  # (rows, cols)

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        made: F32 = x @ self.values.T
        return made

    def multiply_octets(self, x: I8) -> F32:
        """See `weight.Grouped`."""
        return self.multiply(x.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Codes(Summing):
    """int8 codes as float32, and the scales; see `weight.Summing`."""

    codes: F32  # (rows, cols)
    scale: F32  # (rows,)
    totals: I32  # (rows,)

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        made: F32 = x @ self.codes.T
        made *= self.scale
        return made

    def sums(self, x: I8) -> I32:
        """See `weight.Summing`; exact, because every partial sum of a piece is."""
        wide: F32 = x.astype(np.float32)
        made: I32 = np.zeros((x.shape[0], self.codes.shape[0]), dtype=np.int32)
        for at in range(0, x.shape[1], EXACT):
            piece = slice(at, at + EXACT)
            made += (wide[:, piece] @ self.codes[:, piece].T).astype(np.int32)
        return made


def prepare(tensor: Tensor) -> Values | Codes:
    """Prepare a weight of a layout with codes.

    Args:
        tensor: its parts are trusted (see tensors.check).
    """
    if tensor.layout is Layout.INT8_CHANNEL:
        scale: F32 = tensor.parts["scale"].view(np.float32).reshape(-1)
        codes = affine.codes(tensor)
        return Codes(codes.astype(np.float32), scale, codes.sum(axis=1, dtype=np.int32))
    return Values(affine.dequantize(tensor))
