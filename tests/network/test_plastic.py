"""A layer of a trained network goes on learning: the same neurons, open synapses."""

from dataclasses import replace

import numpy as np
import pytest

from shared.network import execute, plastic, streaming
from shared.network.plastic import Learning
from shared.operators.reference import ReferenceBackend
from shared.tensors.layouts import dense
from tests.network import networks
from tests.network.streams import STEPS, spiking, trains


def test_layer_that_learns_nothing_makes_the_same_spikes() -> None:
    x = {"x": dense(trains(1, STEPS))}

    idle = plastic.learning(spiking(), "hidden", Learning(a_plus=0.0))

    made, wanted = (
        execute.load(network, ReferenceBackend()).run(x) for network in (idle, spiking())
    )
    np.testing.assert_array_equal(made["train"].values, wanted["train"].values)
    assert wanted["train"].values.any()


def test_stream_through_a_layer_that_learns_is_the_same_however_it_is_cut() -> None:
    rule = Learning(a_plus=0.2, a_minus=0.1, theta_plus=0.1, tau_theta=50.0, inhibition=0.2)
    network = plastic.learning(spiking(), "hidden", rule)
    x = trains(1, STEPS)
    ends = []
    for cuts in ([], [13, 14]):
        base = execute.load(network, ReferenceBackend())
        kept: dict[str, object] = {}
        for part in np.split(x, cuts, axis=1):
            way = streaming.opened(network, rows=1, steps=part.shape[1])
            made = base.beside(way.later if kept else way.first).run({"x": dense(part), **kept})  # type: ignore[dict-item]
            kept = {name: made[value] for name, value in way.carried.items()}
        ends.append(made["hidden:weight"].values)

    np.testing.assert_array_equal(*ends)
    assert (ends[0] != spiking().weights["w1"].values).any()


def test_bounds_are_those_of_the_weights_unless_they_are_given() -> None:
    weight = spiking().weights["w1"].values
    free, bound = (
        plastic.learning(spiking(), "hidden", rule).steps[1].attributes
        for rule in (Learning(), Learning(w_min=-1.0, w_max=3.0))
    )

    assert (free["w_min"], free["w_max"]) == (weight.min(), weight.max())
    assert (bound["w_min"], bound["w_max"]) == (-1.0, 3.0)


def test_layers_that_cannot_learn_are_told_apart() -> None:
    hidden = spiking().steps[1]
    subtracts = replace(hidden, attributes={**hidden.attributes, "subtract": True})
    network = replace(spiking(), steps=(spiking().steps[0], subtracts, *spiking().steps[2:]))

    with pytest.raises(ValueError, match="subtracts its threshold"):
        plastic.learning(network, "hidden", Learning())
    with pytest.raises(ValueError, match="no layer 'layer0' can learn; there are none"):
        plastic.learning(networks.mlp((4, 3), ("dense",)), "layer0", Learning())


@pytest.mark.parametrize("name", ["tau_plus", "tau_minus", "tau_theta"])
def test_window_without_extent_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be positive, got 0\.0 steps"):
        Learning(**{name: 0.0})  # type: ignore[arg-type]
