"""Gradients of products with sparse weights; the weight stays sparse.

For y = act(W x + b) and g the gradient of a loss with respect to W x + b:

    dx = W^T g        dW = (g x^T) at the stored elements of W        db = sum of g over the batch

A CSR or CSC weight goes through the catalogue: W^T in CSR is W in CSC, of the same arrays, and dW
is a sampled product. The other layouts take a plain path through their definition.
"""

from dataclasses import replace

import numpy as np

from shared.operators import fused
from shared.operators.spec import Backward
from shared.sparse import products, triplets
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense

_TURNED = {Layout.CSR: Layout.CSC, Layout.CSC: Layout.CSR}


def spmm(call: Backward) -> dict[str, Tensor]:
    """Gradients of a loss with respect to weight, x and bias, as far as they are wanted.

    Returns:
        `weight`: float32 of the shape of the part `values`, with respect to the stored elements as
        a reader sees them (code × scale where there are codes), zero in padding; `x`: of x's
        shape; `bias`: (rows,).
    """
    passed = fused.passed(call)
    turned = bool(call.attributes["batch_first"])
    rows = passed if turned else passed.T  # (n, rows)
    found: dict[str, Tensor] = {}
    if "weight" in call.wanted:
        found["weight"] = dense(_weight(call, rows))
    if "x" in call.wanted:
        back = _x(call, rows)
        found["x"] = dense(back if turned else back.T)
    if "bias" in call.wanted and "bias" in call.inputs:
        found["bias"] = dense(rows.sum(axis=0, dtype=np.float32))
    return found


def _weight(call: Backward, passed: F32) -> F32:
    """The sampled product g xᵀ in the shape of the part `values`.

    Args:
        call: of the product.
        passed: (n, rows) float32, g.
    """
    weight = call.inputs["weight"]
    x = _rows(call)
    values = weight.parts["values"]
    if weight.layout is Layout.CSR:
        return _sampled(call, weight, passed.T, x.T)
    if weight.layout is Layout.CSC:
        return _sampled(call, transposed(weight), x.T, passed.T)
    places = triplets.of(weight)
    stored = np.zeros(values.size, dtype=np.float32)
    stored[places.at] = products.sampled_at(places.rows, places.cols, passed.T, x.T)
    return stored.reshape(values.shape)


def _sampled(call: Backward, pattern: Tensor, left: F32, right: F32) -> F32:
    given = {"pattern": pattern, "a": dense(left), "b": dense(right)}
    values: F32 = call.run("sddmm_csr", given, {})["values"].values.view(np.float32)
    return values


def _x(call: Backward, passed: F32) -> F32:
    """(n, cols) float32: Wᵀ g, one row per sample."""
    weight = call.inputs["weight"]
    if weight.layout in _TURNED:
        back = transposed(weight)
        made = call.run(
            f"spmm_{back.layout}", {"weight": back, "x": dense(passed)}, {"batch_first": True}
        )
        given: F32 = made["y"].values.view(np.float32)
        return given
    plain = np.asarray(triplets.matrix(weight).T @ passed.T.astype(np.float64))
    return np.ascontiguousarray(plain.T, dtype=np.float32)


def transposed(weight: Tensor) -> Tensor:
    """The transpose of a CSR or CSC weight: the same arrays, read along the other axis."""
    rows, cols = weight.shape
    return replace(weight, layout=_TURNED[weight.layout], shape=(cols, rows))


def _rows(call: Backward) -> F32:
    """x with one row per sample."""
    x: F32 = call.inputs["x"].values.view(np.float32)
    return x if call.attributes["batch_first"] else x.T
