"""Codes without a sign in the layout that products are fastest with, where they fit it."""

import numpy as np

from shared.quantization import affine
from shared.quantization.affine import Grid
from shared.quantization.scheme import Scheme
from shared.tensors.layouts import Layout, Tensor


def recoded(tensor: Tensor) -> Tensor:
    """The same values as signed nibbles or bytes where they fit.

    Args:
        tensor: of a layout with codes; all but INT_GROUP come back as they are.
    """
    if tensor.layout is not Layout.INT_GROUP:
        return tensor
    steps, rows = affine.steps(tensor).astype(np.int16), tensor.shape[0]
    held = tensor.parts["scale"].view(np.float32)
    scale = np.ascontiguousarray(np.broadcast_to(held, (rows, held.shape[1])))
    least, most = int(steps.min(initial=0)), int(steps.max(initial=0))
    if least >= -8 and most <= 7:
        return affine.with_steps(steps, Grid(scale), Scheme(Layout.INT4_GROUP, 4, None))
    if scale.shape[1] == 1 and least >= -128 and most <= 127:
        return affine.with_steps(steps, Grid(scale), Scheme(Layout.INT8_CHANNEL, 8, None))
    return tensor
