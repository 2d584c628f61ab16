"""A weight that is ready to be multiplied, whoever does it."""

from typing import Protocol, runtime_checkable

import numpy as np

from shared.tensors.dtypes import F32


@runtime_checkable
class Product(Protocol):
    """A prepared weight W of (rows, cols). Calls from several threads may overlap."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the weight."""
        ...

    def multiply(
        self, x: F32, *, bias: F32 | None = None, relu: bool = False, out: F32 | None = None
    ) -> F32:
        """act(W x + bias); an element that is not stored takes no part.

        Args:
            x: (cols, n) float32 in any memory order; row-major and column-major are not copied
                as a whole.
            bias: (rows,) float32.
            relu: whether results below zero become zero; NaN stays NaN.
            out: (rows, n) float32, row-major: where the result goes.

        Returns:
            (rows, n) float32, row-major; `out` where it was given.

        Raises:
            ValueError: a shape, type or memory order that does not fit.
        """
        ...


def result(shape: tuple[int, int], x: F32, bias: F32 | None, out: F32 | None) -> F32:
    """The array that a product writes, once its arguments are known to fit.

    Raises:
        ValueError: see `Product.multiply`.
    """
    rows, cols = shape
    if x.ndim != 2 or x.shape[0] != cols or x.dtype != np.float32:
        raise ValueError(f"x must be ({cols}, n) float32, got {x.shape} {x.dtype}")
    if bias is not None and (bias.shape != (rows,) or bias.dtype != np.float32):
        raise ValueError(f"bias must be ({rows},) float32, got {bias.shape} {bias.dtype}")
    wanted = (rows, x.shape[1])
    if out is None:
        return np.empty(wanted, dtype=np.float32)
    if out.shape != wanted or out.dtype != np.float32 or not out.flags.carray:
        order = "row-major" if out.flags.carray else "not writable row-major"
        raise ValueError(
            f"out must be {wanted} float32 row-major, got {out.shape} {out.dtype} {order}"
        )
    return out
