"""What is refused before anything runs, and what a step costs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.network import shapes
from shared.network.graph import Network, Step
from shared.quantization import affine
from shared.quantization.scheme import int4_per_group
from shared.tensors import layouts
from tests.network.networks import OPERATORS, batched, mlp, mlps, stored


def one(step: Step, *more: Step, **weights: layouts.Tensor) -> Network:
    """x (batch, 2) -> the steps -> y."""
    return Network({"x": batched(2)}, ("y",), (step, *more), weights)


@given(mlps(), st.integers(1, 9))
def test_every_value_of_an_mlp_has_the_batch_in_front(network: Network, batch: int) -> None:
    types = shapes.infer(network, batch)

    made = [value for step in network.steps for value in step.outputs.values()]
    assert all(types[value].shape[0] == batch for value in made)
    assert types["y"].shape[1] == network.weights[network.steps[-2].inputs["bias"]].shape[0]


def test_cost_of_a_dense_layer_counts_each_byte_once() -> None:
    network = mlp((3, 2), ("dense",))

    layer = shapes.step_costs(network, 4)[0]

    assert layer.cost.bytes == 4 * (4 * 3 + 2 * 3 + 2 + 4 * 2)  # x, weight, bias, y
    assert layer.cost.flops >= 2 * 4 * 3 * 2


@pytest.mark.parametrize("kind", ["dense", "int8", "csr"])
def test_sparsity_is_the_share_of_zeros_of_the_weight_in_any_layout(kind: str) -> None:
    weight = stored(np.array([[2, 0], [0, 0]], np.float32), kind)
    attributes = {"batch_first": True} if kind == "csr" else {}
    ports = {"x": "x", "weight": "w"}
    network = one(Step("s", OPERATORS[kind], ports, {"y": "y"}, attributes), w=weight)

    assert [entry.sparsity for entry in shapes.step_costs(network, 1)] == [0.75]


def test_a_value_read_before_it_is_made_is_called_a_cycle() -> None:
    first = Step("first", "relu", {"x": "b"}, {"y": "a"})
    second = Step("second", "relu", {"x": "a"}, {"y": "b"})

    with pytest.raises(ValueError, match=r"'first' reads 'b' before step 'second'.*cycle"):
        shapes.check(replace(one(first, second), outputs=("b",)))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (one(Step("s", "relu", {"x": "ghost"}, {"y": "y"})), "which nothing makes"),
        (one(Step("s", "gemm_f16", {"x": "x"}, {"y": "y"})), "no operator 'gemm_f16'"),
        (one(Step("s", "relu", {"x": "x"}, {"z": "y"})), "must bind the outputs"),
        (one(Step("s", "relu", {"z": "x"}, {"y": "y"})), "no port 'z'"),
        (one(Step("s", "relu", {"x": "x"}, {"y": "x"})), "'x' is defined twice"),
        (one(Step("s", "relu", {"x": "x"}, {"y": "z"})), "output 'y' is made by no step"),
        (one(Step("", "relu", {"x": "x"}, {"y": "y"})), "0 characters"),
        (one(Step("s", "clip", {"x": "x"}, {"y": "y"}, {"low": 0.0})), "'high' is missing"),
        (one(Step("s", "relu", {"x": "x"}, {"y": "y"}, {"low": 0.0})), "no attribute 'low'"),
        (replace(one(Step("s", "relu", {"x": "x"}, {"y": "y"})), outputs=()), "no output"),
    ],
)
def test_an_unsound_network_is_refused_with_the_place(network: Network, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        shapes.check(network)


def test_two_steps_of_one_name_are_refused() -> None:
    twins = [Step("s", "relu", {"x": "x"}, {"y": name}) for name in ("a", "y")]

    with pytest.raises(ValueError, match="step 's' is defined twice"):
        shapes.check(one(*twins))


def test_a_weight_of_another_width_is_named_with_its_step() -> None:
    weight = layouts.dense(np.zeros((4, 3), np.float32))

    with pytest.raises(ValueError, match="step 'dense_1'"):
        shapes.check(
            one(Step("dense_1", "gemm_f32", {"x": "x", "weight": "w"}, {"y": "y"}), w=weight)
        )


def test_an_input_that_would_fill_the_machine_is_refused() -> None:
    network = one(Step("s", "relu", {"x": "x"}, {"y": "y"}))

    with pytest.raises(ValueError, match="over 268435456 elements"):
        shapes.check(replace(network, inputs={"x": batched(2**15, 2**15)}))


def test_zeros_of_packed_codes_are_counted_one_by_one() -> None:
    values = np.array([[1, 0, 0, -2], [3, 0, 4, 0]], np.float32)

    packed = affine.quantize(values, int4_per_group(4))

    assert shapes.zeros(packed) == 0.5
    assert shapes.zeros(layouts.dense(values)) == 0.5
