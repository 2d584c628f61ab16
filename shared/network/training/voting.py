"""Neurons that competed as a network: each votes for the class that it stands for. And back.

Rows come one by one, because the neurons of one row compete.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from shared.network import shapes
from shared.network.graph import Network, Step
from shared.network.training.competitive import HELD, I64, Competitive, Learned
from shared.operators import catalog, plastic, validate
from shared.operators.spec import Attributes, Scalar
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

SEEDS = 2**31  # that an encoding tells apart
LAYER, ENCODE = "layer", "encode"  # names of the two steps that spike


class Held(NamedTuple):
    """What a network of neurons that compete holds, and how it is called."""

    learned: Learned
    classes: int
    x: str  # name of the input
    scores: str  # name of the output
    says: Mapping[str, Scalar]  # fields of `Competitive`


def network(
    found: Learned,
    stands: I64,
    classes: int,
    plan: Competitive,
    *,
    x: str = "x",
    scores: str = "scores",
) -> Network:
    """What was learned as a network: x (1, k) gives scores (1, classes), the mean answer of the
    neurons that stand for each class."""
    votes = (stands == np.arange(classes)[:, np.newaxis]).astype(np.float32)
    votes /= np.maximum(votes.sum(axis=1, keepdims=True), 1)
    weights = {"peak": dense(np.array(plan.peak, np.float32)), "votes": dense(votes)}
    weights |= {"synapses": dense(found.weight), "theta": dense(found.theta)}
    layer = {"spikes": "s0", "weight": "synapses", "theta": "theta"}
    kept = {f"{port}_next": f"layer:{port}" for port in ("weight", *plastic.KEPT)}
    shown: Attributes = {"steps": plan.steps, "mode": "randomly", "seed": plan.seed % SEEDS}
    fixed = plan.attributes(learns=False)
    steps = (
        Step("scale", "mul", {"a": x, "b": "peak"}, {"y": "rates"}),
        Step(ENCODE, "rate_encode", {"x": "rates"}, {"spikes": "s0"}, shown),
        Step(LAYER, "plastic_layer", layer, {"spikes": "s1", **kept}, fixed),
        Step("answers", "spike_rate", {"spikes": "s1"}, {"y": "fired"}),
        Step("vote", "gemm_f32", {"x": "fired", "weight": "votes"}, {"y": scores}),
    )
    kind = TensorType(Layout.DENSE, Dtype.F32, (1, found.weight.shape[1]))
    return Network({x: kind}, (scores,), steps, weights)


def read(network: Network) -> Held:
    """What a network holds that can learn by competition; its own votes are not read.

    Raises:
        ValueError: it is not one input, perhaps times one number, encoded as rates for one
            plastic_layer with weights of its own, and scores (1, classes); names what is not.
    """
    layer = _only(network, "plastic_layer")
    encode = _only(network, "rate_encode")
    if layer.inputs["spikes"] != encode.outputs["spikes"]:
        raise ValueError(f"{layer.name!r} does not read the spikes of {encode.name!r}")
    if further := layer.inputs.keys() - {"spikes", "weight", "theta"}:
        raise ValueError(f"{layer.name!r} reads {min(further)!r}, which competition does not know")
    port, peak = _scaled_input(network, encode.inputs["x"])
    weight = _own(network, layer, "weight")
    theta = _own(network, layer, "theta") if "theta" in layer.inputs else None
    if theta is None:
        theta = np.zeros(len(weight), np.float32)
    neuron = validate.complete(catalog.spec(layer.operator), layer.attributes)
    says: dict[str, Scalar] = {
        **{name: neuron[name] for name in HELD},
        "neurons": len(weight),
        "steps": validate.complete(catalog.spec(encode.operator), encode.attributes)["steps"],
        "peak": peak,
        "total": float(weight.sum(dtype=np.float64) / max(weight.size, 1)),
    }
    scores = network.outputs[0]
    return Held(Learned(weight, theta), _classes(network, scores), port, scores, says)


def _only(network: Network, operator: str) -> Step:
    found = [step for step in network.steps if step.operator == operator]
    if len(found) != 1:
        raise ValueError(f"competition takes one step {operator}, the network has {len(found)}")
    return found[0]


def _own(network: Network, layer: Step, port: str) -> F32:
    held = network.weights.get(layer.inputs[port])
    if held is None or held.layout is not Layout.DENSE or held.dtype is not Dtype.F32:
        raise ValueError(f"the {port} of {layer.name!r} is not a dense f32 weight of its own")
    array: F32 = held.values.view(np.float32)
    return array


def _scaled_input(network: Network, value: str) -> tuple[str, float]:
    """The one input that is encoded, and the number that it is multiplied by before."""
    (port, *others), peak = network.inputs, 1.0
    makers = {step.outputs["y"]: step for step in network.steps if step.operator == "mul"}
    if value in makers:
        sides = makers[value].inputs.values()
        number = _number([network.weights[side] for side in sides if side in network.weights])
        value, peak = next(side for side in sides if side not in network.weights), number
    if others or value != port:
        raise ValueError(f"competition encodes the one input, not {value!r}")
    return port, peak


def _number(factors: list[Tensor]) -> float:
    if len(factors) != 1 or factors[0].size != 1 or factors[0].dtype is not Dtype.F32:
        raise ValueError("the input is multiplied by something else than one number of its own")
    return float(factors[0].values.view(np.float32).reshape(()))


def _classes(network: Network, scores: str) -> int:
    shape = shapes.infer(network, 1)[scores].shape
    if len(shape) != 2 or shape[0] != 1 or not shape[1]:
        raise ValueError(f"the first output {scores!r} is {shape}, not scores (1, classes)")
    return shape[1]
