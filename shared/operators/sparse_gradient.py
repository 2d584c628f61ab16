"""Gradients of products with sparse weights; the weight stays sparse.

For y = act(W x + b) and g the gradient of a loss with respect to W x + b:

    dx = W^T g        dW = (g x^T) at the stored elements of W        db = sum of g over the batch
"""

import numpy as np
import numpy.typing as npt

from shared.operators import fused
from shared.operators.spec import Attributes, Tensors
from shared.sparse import products, triplets
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense

F64 = npt.NDArray[np.float64]


def spmm(inputs: Tensors, attributes: Attributes, outer: Tensors) -> dict[str, Tensor]:
    """Gradients of a loss with respect to weight, x and bias.

    Args:
        inputs: of the call.
        attributes: of the call, complete.
        outer: `y`, the gradient of the loss with respect to the call's y, of y's shape.

    Returns:
        `weight`: float32 of the shape of the part `values`, with respect to the stored elements as
        a reader sees them (code × scale where there are codes), zero in padding; `x`: of x's
        shape; `bias`: (rows,) where there is one.
    """
    weight = inputs["weight"]
    turned = bool(attributes["batch_first"])
    x, passed = _columns(inputs["x"], turned=turned), _columns(outer["y"], turned=turned)
    if attributes["activation"] == "relu":
        passed = passed * (_sums(inputs, attributes, x) > 0)
    places = triplets.of(weight)
    stored = np.zeros(weight.parts["values"].size, dtype=np.float64)
    stored[places.at] = products.sampled_at(places.rows, places.cols, passed, x)
    back = np.asarray(triplets.matrix(weight).T @ passed)
    found = {
        "weight": dense(stored.reshape(weight.parts["values"].shape).astype(np.float32)),
        "x": dense((back.T if turned else back).astype(np.float32)),
    }
    if "bias" in inputs:
        found["bias"] = dense(passed.sum(axis=1).astype(np.float32))
    return found


def _columns(tensor: Tensor, *, turned: bool) -> F64:
    """A dense operand with one column per sample."""
    array = tensor.values.astype(np.float64)
    return array.T if turned else array


def _sums(inputs: Tensors, attributes: Attributes, x: F64) -> F32:
    """What the activation was given."""
    linear = {**attributes, "activation": "none"}
    product = np.asarray(triplets.matrix(inputs["weight"]) @ x)
    return fused.finish(product.T, inputs, linear).T
