"""Training goes through spikes by slopes that stand for theirs; the loss reads the first output."""

from dataclasses import replace

import numpy as np
import pytest

from shared.network import execute
from shared.network.graph import Network
from shared.network.training import loop
from shared.network.training.loop import Rows
from shared.network.training.plan import SlopePlan, TrainPlan
from shared.operators.reference import ReferenceBackend
from shared.spiking.layers import SURROGATES, Slope, Surrogate
from shared.tensors.layouts import dense
from tests.network import learning, networks, streams
from tests.network.streams import spiking

COUNT = 240
PLAN = TrainPlan(rate=0.02, epochs=6, batch=24)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return streams.labelled(COUNT)


def scored() -> Network:
    """Its first output is the rate of every class."""
    return replace(spiking(), outputs=("rate", "train", "v"))


def accuracy(network: Network, rows: Rows) -> float:
    rate = execute.load(network, ReferenceBackend()).run({"x": dense(rows.x)})["rate"].values
    return float((rate.argmax(axis=1) == rows.y).mean())


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_spikes_learn_by_every_surrogate(surrogate: Surrogate, rows: Rows) -> None:
    plan = replace(PLAN, slope=SlopePlan(surrogate, 2.0))

    found = learning.go_on(loop.start(scored(), plan), plan, rows)

    assert accuracy(loop.result(found, plan), rows) > 0.9 > accuracy(scored(), rows) + 0.2


def test_slopes_cut_into_stretches_learn_otherwise_and_learn(rows: Rows) -> None:
    cut, whole = (replace(PLAN, slope=Slope(truncate=steps)) for steps in (10, 0))

    ends = [learning.go_on(loop.start(scored(), plan), plan, rows) for plan in (cut, whole)]

    assert accuracy(ends[0].network, rows) > 0.9
    assert not np.array_equal(*(end.network.weights["w1"].values for end in ends))


def test_synapses_between_neurons_learn_and_stay_where_they_are(rows: Rows) -> None:
    begun = replace(streams.recurrent(), outputs=("rate", "train", "v"))

    found = learning.go_on(loop.start(begun, PLAN), PLAN, rows)

    made = loop.result(found, PLAN)
    before, after = (network.weights["r"].parts for network in (begun, made))
    assert accuracy(made, rows) > 0.9
    assert not np.array_equal(before["values"], after["values"])
    np.testing.assert_array_equal(before["indices"], after["indices"])
    np.testing.assert_array_equal(made.weights["n"].values, begun.weights["n"].values)


def test_network_keeps_all_of_its_outputs_when_one_is_trained(rows: Rows) -> None:
    found = learning.go_on(loop.start(scored(), PLAN), PLAN, rows, stop=1)

    assert loop.result(found, PLAN).outputs == ("rate", "train", "v")


def test_slope_for_a_network_without_spikes_is_refused() -> None:
    with pytest.raises(ValueError, match="no step of the network makes any"):
        loop.start(networks.mlp((4, 3), ("dense",)), replace(PLAN, slope=Slope()))
