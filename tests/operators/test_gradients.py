"""Gradients of the catalogue against differences of its references."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shared.operators import validate
from shared.operators.catalog import CATALOG
from shared.operators.spec import Case, OperatorSpec
from shared.sparse import triplets
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import SPARSE, Tensor, dense

DIFFERENTIABLE = [spec for spec in CATALOG if spec.gradient is not None]
STEP = 2.0**-11  # small beside the distance of a sum to the corner of relu, large beside rounding
CHOSEN = ("one_column", "odd_sizes", "odd_sizes_batch_first_bias_relu", "large")
CASES = [
    pytest.param(spec, case, id=f"{spec.name}-{case.name}")
    for spec in DIFFERENTIABLE
    for case in spec.cases(np.random.default_rng(3))
    if case.name in CHOSEN
]


def test_every_sparse_product_has_a_gradient() -> None:
    assert {f"spmm_{layout}" for layout in SPARSE} <= {spec.name for spec in DIFFERENTIABLE}


@pytest.mark.parametrize(("spec", "case"), CASES)
def test_gradient_is_the_slope_of_the_reference(spec: OperatorSpec, case: Case) -> None:
    assert spec.gradient is not None
    rng = np.random.default_rng(11)
    attributes = validate.complete(spec, case.attributes)
    outer = rng.standard_normal(spec.reference(case.inputs, attributes)["y"].shape)
    outer = outer.astype(np.float32)

    def loss(inputs: dict[str, Tensor]) -> float:
        y = spec.reference(inputs, attributes)["y"].values.astype(np.float64)
        return float((y * outer).sum())

    found = spec.gradient(case.inputs, attributes, {"y": dense(outer)})

    assert found.keys() == case.inputs.keys()
    for port, slope in found.items():
        part = "values"
        places = _stored(case.inputs[port])
        for at in rng.choice(places, size=min(6, places.size), replace=False):
            expected = _slope(loss, dict(case.inputs), port, part, int(at))
            assert slope.values.reshape(-1)[at] == pytest.approx(expected, rel=2e-2, abs=2e-2)


@pytest.mark.parametrize("spec", DIFFERENTIABLE, ids=lambda spec: spec.name)
def test_gradients_have_the_shapes_of_what_they_belong_to(spec: OperatorSpec) -> None:
    for case in spec.cases(np.random.default_rng(5)):
        assert spec.gradient is not None
        attributes = validate.complete(spec, case.attributes)
        y = spec.reference(case.inputs, attributes)["y"]

        found = spec.gradient(case.inputs, attributes, {"y": y})

        for port, slope in found.items():
            assert slope.shape == case.inputs[port].parts["values"].shape
            assert slope.dtype is Dtype.F32


def _stored(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Places in the flattened part `values` that a product reads."""
    if tensor.layout in SPARSE:
        return triplets.of(tensor).at
    return np.arange(tensor.size)


def _slope(
    loss: Callable[[dict[str, Tensor]], float],
    inputs: dict[str, Tensor],
    port: str,
    part: str,
    at: int,
) -> float:
    """The difference of the loss over one element moved up and down."""
    ends = []
    for sign in (1.0, -1.0):
        array = inputs[port].parts[part].copy()
        array.reshape(-1)[at] += np.float32(sign * STEP)
        moved = replace(inputs[port], parts={**inputs[port].parts, part: array})
        ends.append(loss(inputs | {port: moved}))
    return (ends[0] - ends[1]) / (2 * STEP)
