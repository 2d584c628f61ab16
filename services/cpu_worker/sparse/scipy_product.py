"""Products by scipy: always there, and the measure of the compiled ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from services.cpu_worker.sparse import product
from shared.sparse import compressed, triplets
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ScipyProduct:
    """A weight as scipy's csr_array or csc_array of float32; see `product.Product`."""

    matrix: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the weight."""
        rows, cols = self.matrix.shape
        return rows, cols

    def multiply(
        self, x: F32, *, bias: F32 | None = None, relu: bool = False, out: F32 | None = None
    ) -> F32:
        """See `product.Product`."""
        made = product.result(self.shape, x, bias, out)
        made[...] = self.matrix @ x
        if bias is not None:
            made += bias[:, np.newaxis]
        if relu:
            np.maximum(made, 0.0, out=made)
        return made


def prepare(tensor: Tensor) -> ScipyProduct:
    """Prepare a weight of any sparse layout; arrays of float32 CSR and CSC are shared.

    Args:
        tensor: its parts are trusted (see tensors.check).
    """
    if tensor.layout in (Layout.CSR, Layout.CSC) and tensor.dtype is Dtype.F32:
        return ScipyProduct(compressed.to_scipy(compressed.from_tensor(tensor)))
    found = triplets.of(tensor)
    places = (found.rows, found.cols)
    wide = sparse.coo_array((found.values.astype(np.float32), places), shape=tensor.shape)
    return ScipyProduct(wide.tocsr())
