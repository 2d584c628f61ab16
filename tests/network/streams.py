"""A spiking network that is streamed, and random trains for it."""

from dataclasses import replace

import numpy as np

from shared.network.graph import Network, Step
from shared.network.training.loop import Rows
from shared.operators import samples
from shared.sparse import convert
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, TensorType, dense

STEPS, INPUTS, HIDDEN, OUTPUTS = 40, 12, 9, 4


def spiking() -> Network:
    """Two layers, the second with filtering synapses; answers spikes, rates and potentials."""
    rng = np.random.default_rng(8)
    weights = {
        "w1": dense(rng.normal(0.1, 0.4, (HIDDEN, INPUTS)).astype(np.float32)),
        "w2": dense(rng.normal(0.1, 0.6, (OUTPUTS, HIDDEN)).astype(np.float32)),
    }
    filters = {"decay": 0.9, "synapse": 0.8, "couple": 0.3, "direct": 0.1}
    steps = (
        Step("pack", "spike_pack", {"x": "x"}, {"spikes": "s0"}),
        Step(
            "hidden",
            "lif_layer",
            {"spikes": "s0", "weight": "w1"},
            {"spikes": "s1", "v_next": "v1"},
            {"decay": 0.95},
        ),
        Step(
            "last",
            "cuba_layer",
            {"spikes": "s1", "weight": "w2"},
            {"spikes": "s2", "v_next": "v", "i_next": "i"},
            filters,
        ),
        Step("unpack", "spike_unpack", {"spikes": "s2"}, {"y": "train"}),
        Step("count", "spike_rate", {"spikes": "s2"}, {"y": "rate"}),
    )
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, STEPS, INPUTS))
    return Network({"x": kind}, ("train", "rate", "v"), steps, weights)


def recurrent() -> Network:
    """The same with a first layer whose neurons read each other, one step and three steps later."""
    rng = np.random.default_rng(8)
    plain, links = spiking(), rng.normal(0.0, 0.2, (4, HIDDEN, HIDDEN))
    links[[0, 2]] = 0.0
    constants = np.array([[0.95, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]).T * np.ones(HIDDEN)
    weights = {
        **plain.weights,
        "r": convert.to_layout(samples.f32(links.reshape(4 * HIDDEN, HIDDEN)), Layout.CSR),
        "n": samples.f32(constants),
    }
    ports = {"spikes": "s0", "weight": "w1", "recurrent": "r", "neurons": "n"}
    made = {"spikes": "s1", "v_next": "v1", "i_next": "i1", "past_next": "past"}
    steps = list(plain.steps)
    steps[1] = Step("hidden", "recurrent_layer", ports, made)
    return replace(plain, steps=tuple(steps), weights=weights)


def trains(rows: int, steps: int) -> F32:
    return (np.random.default_rng(rows).random((rows, steps, INPUTS)) < 0.3).astype(np.float32)


def labelled(rows: int) -> Rows:
    """Trains whose label says which part of the inputs is the busiest."""
    rng = np.random.default_rng(6)
    labels = rng.integers(0, OUTPUTS, rows)
    rate = np.full((rows, 1, INPUTS), 0.08)
    for row, label in enumerate(labels):
        rate[row, 0, label * 3 : label * 3 + 3] = 0.5
    return Rows((rng.random((rows, STEPS, INPUTS)) < rate).astype(np.float32), labels)
