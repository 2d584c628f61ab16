"""Gradients of the catalogue against differences of its references."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from shared.operators import catalog, spiking_cases, validate
from shared.operators.catalog import CATALOG
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Backward, Case, OperatorSpec, Tensors
from shared.sparse import triplets
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense

REFERENCE = ReferenceBackend()
DIFFERENTIABLE = [spec for spec in CATALOG if spec.gradient is not None]
STRAIGHT = ("quantize_i8", "dequantize_i8")  # whose slopes are those of what they stand for
# of spikes, which differences do not show: see tests/numerics and below
SPIKING = ("lif_layer", "cuba_layer", "recurrent_layer", "spike_rate", "spike_join")
STEP = 2.0**-11  # small beside the distance of a sum to the corner of relu, large beside rounding
SKIPPED = ("infinities", "far_from_zero", "beyond", "integers", "nan", "_i8", "nothing_", "_to_")
CASES = [
    pytest.param(spec, case, id=f"{spec.name}-{case.name}")
    for spec in DIFFERENTIABLE
    if spec.name not in STRAIGHT + SPIKING
    for case in spec.cases(np.random.default_rng(3))
    if not any(word in case.name for word in SKIPPED)  # no slope to speak of
    if all(tensor.size <= 40_000 for tensor in case.inputs.values())
]


def run(operator: str, inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    return REFERENCE.run(catalog.spec(operator), inputs, attributes)


def gradients(
    spec: OperatorSpec, case: Case, outer: Tensor, port: str = "y"
) -> Mapping[str, Tensor]:
    assert spec.gradient is not None
    attributes = validate.complete(spec, case.attributes)
    made = spec.reference(case.inputs, attributes)
    wanted = frozenset(case.inputs)
    return spec.gradient(Backward(case.inputs, made, attributes, {port: outer}, wanted, run))


def test_what_networks_are_made_of_has_a_gradient() -> None:
    names = {spec.name for spec in DIFFERENTIABLE}

    assert {f"spmm_{layout}" for layout in SPARSE} <= names
    assert {"gemm_f32", "relu", "sigmoid", "tanh", "softmax", "add", "mul", "clip"} <= names
    assert {"reshape", "transpose", "reduce_sum", "reduce_mean", "reduce_max"} <= names


@pytest.mark.parametrize(("spec", "case"), CASES)
def test_gradient_is_the_slope_of_the_reference(spec: OperatorSpec, case: Case) -> None:
    rng = np.random.default_rng(11)
    attributes = validate.complete(spec, case.attributes)
    outer = rng.standard_normal(spec.reference(case.inputs, attributes)["y"].shape)
    outer = outer.astype(np.float32)

    def loss(inputs: dict[str, Tensor]) -> float:
        y = spec.reference(inputs, attributes)["y"].values.astype(np.float64)
        return float((y * outer).sum())

    found = gradients(spec, case, dense(outer))

    assert found.keys() == case.inputs.keys()
    for port, slope in found.items():
        places = _stored(case.inputs[port])
        for at in rng.choice(places, size=min(4, places.size), replace=False):
            below, above = _slopes(loss, dict(case.inputs), port, int(at))
            lower, upper = sorted((below, above))  # one-sided: they differ at a corner of relu
            spread = 2e-2 * (1 + max(abs(lower), abs(upper)))
            assert lower - spread <= slope.values.reshape(-1)[at] <= upper + spread


@pytest.mark.parametrize("spec", DIFFERENTIABLE, ids=lambda spec: spec.name)
def test_gradients_have_the_shapes_of_what_they_belong_to(spec: OperatorSpec) -> None:
    for case in spec.cases(np.random.default_rng(5)):
        made = REFERENCE.run(spec, case.inputs, case.attributes)
        port = next(port for port in ("y", "v_next", "spikes") if port in made)
        y = made[port] if port != "spikes" else dense(np.ones(made[port].shape, np.float32))
        if y.dtype is not Dtype.F32 or prod(y.shape) > 40_000:
            continue

        with np.errstate(all="ignore"):
            found = gradients(spec, case, y, port)

        for read, slope in found.items():
            held = case.inputs[read]
            bits = held.layout is Layout.SPIKE_BITS
            assert slope.shape == (held.shape if bits else held.parts["values"].shape)
            assert slope.dtype is Dtype.F32


@pytest.mark.parametrize(
    ("source", "target", "share"),
    [("f32", "f16", 1.0), ("f16", "f32", 1.0), ("f32", "i32", 0.0), ("i32", "f32", 0.0)],
)
def test_a_cast_passes_slopes_between_floats_alone(source: str, target: str, share: float) -> None:
    x = dense(np.arange(3).astype(Dtype(source).numpy), Dtype(source))
    outer = dense(np.float32([0.5, -1.0, 2.0]))

    found = gradients(catalog.spec("cast"), Case("three", {"x": x}, {"to": target}), outer)

    assert found["x"].values.tolist() == [0.5 * share, -share, 2.0 * share]


def test_slopes_pass_straight_through_bytes_and_stop_where_they_saturate() -> None:
    there, back = (catalog.spec(name) for name in STRAIGHT)
    x = dense(np.float32([-3.0, -1.0, 0.3, 1.2, 9.0]))  # bytes stand for -1.28 to 1.27
    attributes: Attributes = {"scale": 0.01, "zero": 0}
    codes = there.reference({"x": x}, attributes)["y"]
    outer = dense(np.float32([1.0, 2.0, 3.0, 4.0, 5.0]))

    middle = gradients(back, Case("back", {"x": codes}, attributes), outer)["x"]
    found = gradients(there, Case("there", {"x": x}, attributes), middle)["x"]

    np.testing.assert_allclose(found.values, [0.0, 2.0, 3.0, 4.0, 0.0], rtol=1e-6)


def test_only_what_is_wanted_is_computed() -> None:
    spec = catalog.spec("gemm_f32")
    case = next(iter(spec.cases(np.random.default_rng(5))))
    attributes = validate.complete(spec, case.attributes)
    made = spec.reference(case.inputs, attributes)
    assert spec.gradient is not None

    found = spec.gradient(Backward(case.inputs, made, attributes, made, frozenset({"weight"}), run))

    assert found.keys() == {"weight"}


def _stored(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Places in the flattened part `values` that a product reads."""
    if tensor.layout in SPARSE:
        return triplets.of(tensor).at
    return np.arange(tensor.size)


def _slopes(
    loss: Callable[[dict[str, Tensor]], float], inputs: dict[str, Tensor], port: str, at: int
) -> tuple[float, float]:
    """Differences of the loss over one element moved down and up."""
    ends = [loss(_moved(inputs, port, at, sign)) for sign in (-1.0, 0.0, 1.0)]
    return (ends[1] - ends[0]) / STEP, (ends[2] - ends[1]) / STEP


def _moved(inputs: dict[str, Tensor], port: str, at: int, sign: float) -> dict[str, Tensor]:
    array = inputs[port].parts["values"].copy()
    array.reshape(-1)[at] += np.float32(sign * STEP)
    return inputs | {port: replace(inputs[port], parts={**inputs[port].parts, "values": array})}


def test_each_part_of_joined_spikes_takes_its_own_slopes() -> None:
    case = next(spiking_cases.spike_join(np.random.default_rng(0)))  # a neuron each
    outer = dense(np.float32([[[0.5, -2.0]]]))

    found = gradients(catalog.spec("spike_join"), case, outer, "spikes")

    assert found["a"].values.tolist() == [[[0.5]]]
    assert found["b"].values.tolist() == [[[-2.0]]]
