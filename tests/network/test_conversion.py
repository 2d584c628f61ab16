"""Networks of rectifiers as spiking ones: close answers, closer with every step."""

from dataclasses import replace

import numpy as np
import pytest

from services.cpu_worker.backend import CpuBackend
from shared.network import conversion, execute, observing, shapes
from shared.network.graph import Network, Step
from shared.network.training import backward
from shared.operators.reference import ReferenceBackend
from shared.quantization.observers import Observed
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense
from tests.network.networks import mlp

RUN = backward.on(ReferenceBackend())
X: F32 = np.random.default_rng(5).random((60, 12)).astype(np.float32)


@pytest.fixture
def network() -> Network:
    return mlp((12, 20, 16, 5), ("dense", "dense", "dense"))


@pytest.fixture
def seen(network: Network) -> dict[str, Observed]:
    return observing.observe(network, X, RUN)


def scores(network: Network, name: str) -> F32:
    whole = replace(network, outputs=(name,), steps=network.steps[:-1])
    found: F32 = execute.load(whole, ReferenceBackend()).run({"x": dense(X)})[name].values
    return found


def test_scores_come_closer_with_every_step(network: Network, seen: dict[str, Observed]) -> None:
    wanted = scores(network, "h2")
    scale = np.abs(wanted).max()

    errors = [
        np.abs(
            scores(conversion.converted(network, seen, steps=steps, share=1.0), "h2") - wanted
        ).mean()
        / scale
        for steps in (8, 64, 512)
    ]

    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_the_cpu_answers_bit_by_bit_like_the_reference(
    network: Network, seen: dict[str, Observed]
) -> None:
    made = conversion.converted(network, seen, steps=30, share=0.99)

    mine, wanted = (
        execute.load(made, backend).run({"x": dense(X)})["y"].values
        for backend in (CpuBackend(), ReferenceBackend())
    )

    np.testing.assert_array_equal(mine, wanted)


def test_a_spiking_network_answers_to_the_same_call(
    network: Network, seen: dict[str, Observed]
) -> None:
    made = conversion.converted(network, seen, steps=16, share=0.999, mode="randomly")

    shapes.check(made)
    assert made.inputs == network.inputs
    assert made.outputs == network.outputs
    operators = [step.operator for step in made.steps]
    layers = ["lif_layer"] * 3
    assert operators == ["mul", "rate_encode", *layers, "mul", "softmax"]


def test_a_relu_of_its_own_is_part_of_its_layer(network: Network) -> None:
    first, *others = network.steps
    bare = replace(first, outputs={"y": "before"}, attributes={})
    apart = Step("rectify", "relu", {"x": "before"}, {"y": first.outputs["y"]})
    split = replace(network, steps=(bare, apart, *others))

    made = conversion.converted(split, observing.observe(split, X, RUN), steps=9, share=1.0)

    whole = conversion.converted(network, observing.observe(network, X, RUN), steps=9, share=1.0)
    np.testing.assert_array_equal(scores(made, "h2"), scores(whole, "h2"))


def test_what_has_no_spiking_counterpart_is_named(
    network: Network, seen: dict[str, Observed]
) -> None:
    first, *others = network.steps
    squashed = Step("squash", "sigmoid", {"x": "before"}, {"y": first.outputs["y"]})
    bare = replace(first, outputs={"y": "before"}, attributes={})

    with pytest.raises(ValueError, match=r"step 'squash' \(sigmoid\) has no spiking counterpart"):
        conversion.converted(
            replace(network, steps=(bare, squashed, *others)), seen, steps=9, share=1.0
        )


def test_inputs_below_zero_are_refused(network: Network) -> None:
    seen = observing.observe(network, X - 2, RUN)

    with pytest.raises(ValueError, match="inputs below zero have no rate, got -"):
        conversion.converted(network, seen, steps=9, share=1.0)


def test_a_layer_that_stays_silent_is_named(network: Network) -> None:
    weights = {**network.weights, "b0": dense(np.full(20, -1e6, np.float32))}
    silent = replace(network, weights=weights)

    with pytest.raises(ValueError, match="'layer1' never got anything above zero"):
        conversion.converted(silent, observing.observe(silent, X, RUN), steps=9, share=1.0)
