"""A quantized weight that is ready to be multiplied, whoever does it."""

from abc import ABC, abstractmethod

import numpy as np

from shared.tensors.dtypes import F32, I8, I32


class Quantized(ABC):
    """A prepared weight W of (rows, cols). Calls from several threads may overlap."""

    @abstractmethod
    def multiply(self, x: F32) -> F32:
        """x Wᵀ, every scale of the weight applied.

        Args:
            x: (n, cols) float32, neither empty.

        Returns:
            (n, rows) float32 in any memory order, the caller's.
        """


class Grouped(Quantized):
    """A weight with a scale per group, so that its products with bytes are no integers."""

    @abstractmethod
    def multiply_octets(self, x: I8) -> F32:
        """`multiply` with bytes for x."""


class Summing(Quantized):
    """A weight of int8 codes and a scale per row, whose products with bytes are exact integers."""

    scale: F32  # (rows,)
    totals: I32  # (rows,) sums of the codes

    @abstractmethod
    def sums(self, x: I8) -> I32:
        """x times the codes, exact modulo 2**32.

        Args:
            x: (n, cols) int8.

        Returns:
            (n, rows) int32, row-major, the caller's.
        """


def scaled(sums: I32, x_scale: F32, scale: F32) -> F32:
    """Exact sums (n, rows) times the scales of the rows of x, (n,), and of the weight, (rows,)."""
    made: F32 = sums.astype(np.float32)
    made *= x_scale[:, np.newaxis]
    made *= scale
    return made
