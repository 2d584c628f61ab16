"""Products with sparse weights."""

from collections.abc import Iterator

import numpy as np

from shared.operators import dims, fused, samples
from shared.operators.spec import (
    Attribute,
    Attributes,
    Case,
    Cost,
    OperatorSpec,
    Port,
    Scalar,
    Tensors,
    Tolerance,
    Types,
)
from shared.sparse import compressed
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense


def spmm_csr(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y = activation(weight x + bias), or its transpose when the batch comes first.

    Products and sums are float64 and y is rounded once. An element that is not stored takes no
    part: NaN in x opposite to it does not show.
    """
    weight = compressed.from_tensor(inputs["weight"])
    x: F32 = inputs["x"].values.view(np.float32)
    if attributes["batch_first"]:
        return {"y": dense(fused.finish(compressed.spmm(weight, x.T).T, inputs, attributes))}
    columns = fused.finish(compressed.spmm(weight, x).T, inputs, attributes)
    return {"y": dense(columns.T)}


def spmm_csr_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """weight (rows, cols), x (cols, n), bias (rows,) give y (rows, n); turned if batch_first."""
    rows, cols = dims.matrix(inputs, "weight")
    n = _batch(inputs, attributes)
    turned = bool(attributes["batch_first"])
    dims.require(inputs, "x", (n, cols) if turned else (cols, n), f"for weight {(rows, cols)}")
    dims.require(inputs, "bias", (rows,), f"for weight {(rows, cols)}")
    return {"y": dims.f32(n, rows) if turned else dims.f32(rows, n)}


def spmm_csr_cost(inputs: Types, attributes: Attributes) -> Cost:
    """2 nonzeros n flops for the product, rows n each for bias and relu."""
    rows, _ = dims.matrix(inputs, "weight")
    n = _batch(inputs, attributes)
    flops = 2 * (inputs["weight"].nonzeros or 0) * n + fused.flops(inputs, attributes, rows * n)
    return Cost(float(flops), dims.traffic(inputs.values(), [dims.f32(rows, n)]))


def spmm_csr_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Rows without elements, rows with very many, one column of x, no column at all."""
    for name, rows, cols, n, share in (
        ("one_column", 33, 65, 1, 0.2),
        ("one_element", 1, 1, 1, 1.0),
        ("odd_sizes", 19, 37, 5, 0.3),
        ("whole_tiles", 64, 128, 64, 0.1),
        ("large", 130, 300, 17, 0.1),
        ("nothing_stored", 5, 7, 3, 0.0),
        ("everything_stored", 9, 11, 4, 1.0),
        ("empty_batch", 5, 7, 0, 0.5),
    ):
        inputs = {"weight": _weight(rng, rows, cols, share), "x": samples.normal(rng, cols, n)}
        yield Case(name, inputs)
        turned = inputs | {"x": samples.normal(rng, n, cols), "bias": samples.normal(rng, rows)}
        attributes: dict[str, Scalar] = {"batch_first": True, "activation": "relu"}
        yield Case(f"{name}_batch_first_bias_relu", turned, attributes)
    yield Case("uneven_rows", {"weight": _uneven(rng), "x": samples.normal(rng, 700, 3)})
    x = samples.normal(rng, 4, 3)
    yield Case("repeated_columns", {"weight": _repeated(), "x": x})
    yield Case("nan_in_one_column", {"weight": _repeated(), "x": samples.with_nan(x, 1, 2)})
    yield Case("nan_opposite_to_nothing", {"weight": _repeated(), "x": samples.with_nan(x, 2, 0)})


def _batch(inputs: Types, attributes: Attributes) -> int:
    first, second = dims.matrix(inputs, "x")
    return first if attributes["batch_first"] else second


def _weight(rng: np.random.Generator, rows: int, cols: int, share: float) -> Tensor:
    values: F32 = samples.weight(rng, rows, cols).values.astype(np.float32)
    values[rng.random((rows, cols)) >= share] = 0.0
    return compressed.to_tensor(compressed.compress(values))


def _uneven(rng: np.random.Generator) -> Tensor:
    """Row lengths 700, 0, 1, 65, 0: longer than a work-group, empty, last row empty."""
    values = np.zeros((5, 700), dtype=np.float32)
    for row, length in ((0, 700), (2, 1), (3, 65)):
        columns = rng.permutation(700)[:length]
        values[row, columns] = rng.standard_normal(length, dtype=np.float32) / np.sqrt(length)
    return compressed.to_tensor(compressed.compress(values))


def _repeated() -> Tensor:
    """Row 0 has columns 3, 1, 3 in this order: unsorted, and the two at column 3 add up."""
    parts = {
        "indptr": np.array([0, 3, 3, 4], dtype=np.int32),
        "indices": np.array([3, 1, 3, 0], dtype=np.int32),
        "values": np.array([1.0, -2.0, 0.5, 4.0], dtype=np.float32),
    }
    return Tensor(Layout.CSR, Dtype.F32, (3, 4), parts)


SPMM_CSR = OperatorSpec(
    name="spmm_csr",
    inputs=(Port("weight", Layout.CSR), Port("x"), fused.BIAS),
    outputs=(Port("y"),),
    infer=spmm_csr_types,
    reference=spmm_csr,
    cost=spmm_csr_cost,
    cases=spmm_csr_cases,
    attributes=(
        Attribute("batch_first", bool, False, "x is (n, cols) and y (n, rows)"),
        fused.ACTIVATION,
    ),
    tolerance=Tolerance(rtol=1e-5, atol=1e-6),
)
