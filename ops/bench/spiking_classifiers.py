"""Spiking classifiers of the digits, 64-128-10 over 25 steps, and how silent they are.

Neurons of the hidden layer leak and spike; those of the last integrate, and their mean over the
steps is the score. Pixels come as spikes of one of several codes.
"""

from collections.abc import Mapping

import numpy as np

from ops.demo.digits import Digits
from shared.network import activity
from shared.network.graph import Network, Step
from shared.network.training import backward, restraint
from shared.operators import spike_trains
from shared.operators.spec import Run
from shared.spiking.layers import NEVER
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

INPUTS, HIDDEN, CLASSES = 64, 128, 10
STEPS, DECAY = 25, 0.9


def of_pixels(*, most: int = STEPS) -> Network:
    """Reads pixels (n, 64), which become evenly spaced spikes: a white one so many."""
    scale = Step("scale", "mul", {"a": "x", "b": "most"}, {"y": "rates"})
    encode = Step("encode", "rate_encode", {"x": "rates"}, {"spikes": "s0"}, {"steps": STEPS})
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, INPUTS))
    own = {"most": dense(np.array(most / STEPS, np.float32))}
    return _network(kind, (scale, encode), own, DECAY)


def of_trains(*, decay: float) -> Network:
    """Reads spikes (n, 25, 64) of 0 and 1."""
    encode = Step("encode", "spike_pack", {"x": "x"}, {"spikes": "s0"})
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, STEPS, INPUTS))
    return _network(kind, (encode,), {}, decay)


def _network(
    kind: TensorType, before: tuple[Step, ...], own: Mapping[str, Tensor], decay: float
) -> Network:
    weights = {
        **own,
        "w0": dense(np.zeros((HIDDEN, INPUTS), np.float32)),
        "b0": dense(np.zeros(HIDDEN, np.float32)),
        "w1": dense(np.zeros((CLASSES, HIDDEN), np.float32)),
        "b1": dense(np.zeros(CLASSES, np.float32)),
        "share": dense(np.array(10 / STEPS, np.float32)),
    }
    hidden = {"spikes": "s0", "weight": "w0", "bias": "b0"}
    last = {"spikes": "s1", "weight": "w1", "bias": "b1"}
    never = {"decay": 1.0, "threshold": NEVER}
    steps = (
        *before,
        Step("hidden", "lif_layer", hidden, {"spikes": "s1", "v_next": "v1"}, {"decay": decay}),
        Step("last", "lif_layer", last, {"spikes": "s2", "v_next": "v2"}, never),
        Step("scores", "mul", {"a": "v2", "b": "share"}, {"y": "y"}),
    )
    return Network({"x": kind}, ("y",), steps, weights)


def silence(network: Network, data: Digits, run: Run) -> dict[str, float]:
    """Share of places, one for each neuron and step of a held-out scan, without a spike.

    Of inputs, of layers that spike, and of both together; what integrates alone does not count.
    """
    taped = backward.forward(network, {"x": dense(data.held_x)}, run)
    (encode,) = (step for step in network.steps if step.name == "encode")
    neurons = restraint.layers(network, outputs=True)
    inputs = spike_trains.split(taped.values[encode.outputs["spikes"]])
    layers = [spike_trains.split(taped.values[step.outputs["spikes"]]) for step in neurons]
    shares = {"inputs": [inputs], "layers": layers, "all": [inputs, *layers]}
    return {
        f"silence of {name}": 1 - sum(int(t.sum()) for t in trains) / sum(t.size for t in trains)
        for name, trains in shares.items()
    }


def operations(network: Network, data: Digits, run: Run) -> float:
    """Synaptic operations per held-out scan: spikes times the synapses that they reach."""
    found = activity.of(network, {"x": dense(data.held_x)}, run)
    return sum(one.operations for one in found.values()) / len(data.held_x)
