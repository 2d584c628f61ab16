"""Products with sparse weights: one operator per layout, all with the same meaning.

A stored element takes part even when it is zero; an element that is not stored takes no part, so
NaN in x opposite to it does not show. The values of a weight are f32, f16, or i8 with a scale.
"""

from functools import partial

from shared.operators import dims, fused, sparse_cases, sparse_gradient
from shared.operators.spec import (
    Attribute,
    Attributes,
    Cost,
    OperatorSpec,
    Port,
    Tensors,
    Tolerance,
    Types,
)
from shared.sparse import products, triplets
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)


def spmm(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation(weight x + bias), or its transpose when the batch comes first.

    Products and sums are float64 and y is rounded once.
    """
    weight, x = inputs["weight"], inputs["x"].values.view("<f4")
    if attributes["batch_first"]:
        return {"y": dense(fused.finish(triplets.product(weight, x.T).T, inputs, attributes))}
    columns = fused.finish(triplets.product(weight, x).T, inputs, attributes)
    return {"y": dense(columns.T)}


def spmm_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """weight (rows, cols), x (cols, n), bias (rows,) give y (rows, n); turned if batch_first."""
    rows, cols = dims.matrix(inputs, "weight")
    n = _batch(inputs, attributes)
    turned = bool(attributes["batch_first"])
    dims.require(inputs, "x", (n, cols) if turned else (cols, n), f"for weight {(rows, cols)}")
    dims.require(inputs, "bias", (rows,), f"for weight {(rows, cols)}")
    return {"y": dims.f32(n, rows) if turned else dims.f32(rows, n)}


def spmm_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 nonzeros n flops for the product, rows n each for bias and relu."""
    rows, _ = dims.matrix(inputs, "weight")
    n = _batch(inputs, attributes)
    flops = 2 * (inputs["weight"].nonzeros or 0) * n + fused.flops(inputs, attributes, rows * n)
    return Cost(float(flops), dims.traffic(inputs.values(), [dims.f32(rows, n)]))


def _batch(inputs: Types, attributes: Attributes) -> int:
    first, second = dims.matrix(inputs, "x")
    return first if attributes["batch_first"] else second


def _spmm(layout: Layout) -> OperatorSpec:
    """The product with weights of one layout."""
    return OperatorSpec(
        name=f"spmm_{layout}",
        inputs=(Port("weight", layout, VALUES), Port("x"), fused.BIAS),
        outputs=(Port("y"),),
        infer=spmm_types,
        reference=spmm,
        cost=spmm_cost,
        cases=partial(sparse_cases.spmm, layout),
        attributes=(
            Attribute("batch_first", bool, False, "x is (n, cols) and y (n, rows)"),
            fused.ACTIVATION,
        ),
        tolerance=Tolerance(rtol=1e-5, atol=1e-6),
        gradient=sparse_gradient.spmm,
    )


SPMM_CSR = _spmm(Layout.CSR)
SPMM_CSC = _spmm(Layout.CSC)
SPMM_BLOCK = _spmm(Layout.BLOCK)
SPMM_SELL = _spmm(Layout.SELL)
SPMM_BITMASK = _spmm(Layout.BITMASK)
SPMM_NM = _spmm(Layout.NM)


def sddmm_csr(inputs: Tensors, _: Attributes) -> dict[str, Tensor]:
    """values[e] = a[row(e)] · b[column(e)] for every stored element e of the pattern.

    Products and sums are float64 and each value is rounded once; what the pattern stores as values
    does not matter. The gradient of a sparse weight is of this form.
    """
    a: F32 = inputs["a"].values.view("<f4")
    b: F32 = inputs["b"].values.view("<f4")
    places = triplets.of(inputs["pattern"])
    values = products.sampled_at(places.rows, places.cols, a, b)
    return {"values": dense(values.astype("<f4"))}


def sddmm_csr_types(inputs: Types, _: Attributes) -> dict[str, TensorType]:
    """pattern (rows, cols), a (rows, k), b (cols, k) give values (nonzeros,)."""
    rows, cols = dims.matrix(inputs, "pattern")
    k = dims.matrix(inputs, "a")[1]
    dims.require(inputs, "a", (rows, k), f"for pattern {(rows, cols)}")
    dims.require(inputs, "b", (cols, k), f"for pattern {(rows, cols)} and a {(rows, k)}")
    return {"values": dims.f32(inputs["pattern"].nonzeros or 0)}


def sddmm_csr_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 nonzeros k flops."""
    _, k = dims.matrix(inputs, "a")
    (made,) = sddmm_csr_types(inputs, attributes).values()
    return Cost(float(2 * dims.elements(made) * k), dims.traffic(inputs.values(), [made]))


SDDMM_CSR = OperatorSpec(
    name="sddmm_csr",
    inputs=(Port("pattern", Layout.CSR, VALUES), Port("a"), Port("b")),
    outputs=(Port("values"),),
    infer=sddmm_csr_types,
    reference=sddmm_csr,
    cost=sddmm_csr_cost,
    cases=sparse_cases.sddmm,
    tolerance=Tolerance(rtol=1e-5, atol=1e-5),
)
