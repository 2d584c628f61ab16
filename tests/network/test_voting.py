"""Neurons that compete are a network, and are found in one again."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shared.network import artifact
from shared.network.graph import Network, Step
from shared.network.training import competitive, voting
from shared.network.training.competitive import Competitive
from shared.tensors.layouts import dense
from tests.network import networks

INPUTS, CLASSES = 6, 3
PLAN = Competitive(
    neurons=5, steps=20, peak=0.5, total=0.25, decay=0.8, threshold=1.5, inhibition=2.0, seed=2**40
)
BEGUN = competitive.start(INPUTS, PLAN)
STANDS = np.array([2, 0, competitive.NONE, 0, 1])
NETWORK = voting.network(BEGUN, STANDS, CLASSES, PLAN, x="pixels", scores="y")


def test_what_a_network_holds_is_what_it_was_made_of() -> None:
    held = voting.read(artifact.unpack(artifact.pack(NETWORK)))

    np.testing.assert_array_equal(held.learned.weight, BEGUN.weight)
    np.testing.assert_array_equal(held.learned.theta, BEGUN.theta)
    assert (held.classes, held.x, held.scores) == (CLASSES, "pixels", "y")
    assert held.says["total"] == pytest.approx(PLAN.total)
    said = {name: value for name, value in held.says.items() if name != "total"}
    assert said == {name: getattr(PLAN, name) for name in said}


def test_votes_of_a_class_are_shared_among_its_neurons_and_one_of_none_has_no_vote() -> None:
    np.testing.assert_array_equal(
        NETWORK.weights["votes"].values,
        np.array([[0, 0.5, 0, 0.5, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]], np.float32),
    )


def test_a_layer_without_thresholds_of_its_own_has_not_tired() -> None:
    layer = step("layer")
    bare = replace(layer, inputs={port: layer.inputs[port] for port in ("spikes", "weight")})

    assert voting.read(swapped(bare)).learned.theta.tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (lambda: networks.mlp((4, 3), ("dense",)), "one step plastic_layer, the network has 0"),
        (
            lambda: swapped(rewired("layer", bias="theta")),
            "'layer' reads 'bias', which competition does not know",
        ),
        (
            lambda: weighed("synapses", np.zeros((5, INPUTS), np.float64)),
            "the weight of 'layer' is not a dense f32 weight of its own",
        ),
        (
            lambda: weighed("peak", np.zeros(INPUTS, np.float32)),
            "multiplied by something else than one number",
        ),
        (
            lambda: replace(NETWORK, outputs=("s1",)),
            r"the first output 's1' is \(1, 20, 5\), not scores \(1, classes\)",
        ),
    ],
    ids=["no_layer", "bias", "weight", "peak", "output"],
)
def test_other_networks_are_refused_with_a_reason(
    network: Callable[[], Network], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        voting.read(network())


def step(name: str) -> Step:
    """A step of the network."""
    return next(one for one in NETWORK.steps if one.name == name)


def rewired(name: str, **inputs: str) -> Step:
    """A step that also reads these."""
    return replace(step(name), inputs={**step(name).inputs, **inputs})


def swapped(changed: Step) -> Network:
    """The network with one step in place of its namesake."""
    steps = tuple(changed if one.name == changed.name else one for one in NETWORK.steps)
    return replace(NETWORK, steps=steps)


def weighed(name: str, values: np.ndarray) -> Network:
    """The network with another weight."""
    return replace(NETWORK, weights={**NETWORK.weights, name: dense(values)})
