"""Products with dense weights, by BLAS."""

from collections.abc import Mapping

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.held import Arrays, Held
from shared.operators.spec import Attributes
from shared.tensors.dtypes import F32


def gemm_f32(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """Taken as ``weight @ x.T``, so that the result is what the next product wants."""
    product: F32 = held.array(inputs["weight"]) @ held.array(inputs["x"]).T
    return {"y": _finished(product, inputs, attributes).T}


def _finished(product: F32, inputs: Mapping[str, Held], attributes: Attributes) -> F32:
    """Add the bias and clip at zero, in place, on a product with one row per output.

    Args:
        product: (m, n) float32, owned by the caller.
        inputs: `bias` (m,) float32 if there is one.
        attributes: `activation`.
    """
    if "bias" in inputs:
        product += held.array(inputs["bias"])[:, np.newaxis]
    if attributes["activation"] == "relu":
        np.maximum(product, 0.0, out=product)
    return product
