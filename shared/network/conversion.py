"""A network of rectifiers as one of spiking neurons: rates stand for activations.

A neuron that integrates, and loses its threshold at a spike, spikes at the rate of its input, cut
to between none and one spike per step: a rectifier. So activations are divided by what they rarely
exceed, layer by layer. Membranes begin half full, which centres the error of a count.

Source: Rueckauer et al. 2017, "Conversion of Continuous-Valued Deep Networks to Efficient
Event-Driven Networks for Image Classification", eq. 5, with percentiles as in section 2.2.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from shared.network import rewrites
from shared.network.graph import Network, Step
from shared.operators.spec import Attributes
from shared.quantization import ranges
from shared.quantization.observers import Observed
from shared.spiking.layers import NEVER
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

LAYER = "gemm_f32"
HALF = 0.5  # of a threshold


def converted(
    network: Network,
    seen: Mapping[str, Observed],
    *,
    steps: int,
    share: float,
    mode: str = "evenly",
) -> Network:
    """Dense layers with relu between them as layers of neurons; the last one only integrates.

    Args:
        seen: by step name, what each layer reads.
        steps: time steps of a call.
        share: of the activations that are told apart; larger ones spike in every step.
        mode: how inputs become spikes, see the operator `rate_encode`.

    Raises:
        ValueError: a step has no counterpart, layers are not one after the other, an input was
            below zero, or a layer never got any; names it.
    """
    layers, tail = _chain(network)
    if seen[layers[0].name].low < 0:
        raise ValueError(f"inputs below zero have no rate, got {seen[layers[0].name].low:.6g}")
    tops = [_top(step.name, seen[step.name], share) for step in layers]
    (port,) = network.inputs
    weights = {name: network.weights[name] for name in _kept(tail, network)}
    weights["inputs:share"] = dense(np.array(1 / tops[0], np.float32))
    made = [
        Step("inputs", "mul", {"a": port, "b": "inputs:share"}, {"y": "inputs:y"}),
        Step(
            "encode",
            "rate_encode",
            {"x": "inputs:y"},
            {"spikes": "encode:spikes"},
            {"steps": steps, "mode": mode},
        ),
    ]
    arriving = "encode:spikes"
    for step, (top, after) in zip(layers, pairwise([*tops, 1.0]), strict=True):
        held = network.weights[step.inputs["weight"]].values.view(np.float32)
        ports = {"spikes": arriving, "weight": f"{step.name}:w"}
        weights[ports["weight"]] = dense(held * np.float32(top / after))
        if "bias" in step.inputs:
            bias: F32 = network.weights[step.inputs["bias"]].values.view(np.float32)
            ports["bias"] = f"{step.name}:b"
            weights[ports["bias"]] = dense(bias / np.float32(after))
        arriving = f"{step.name}:spikes"
        outputs = {"spikes": arriving, "v_next": f"{step.name}:v"}
        made.append(Step(step.name, "lif_layer", ports, outputs, _neuron(step is layers[-1])))
    weights["scores:share"] = dense(np.array(1 / steps, np.float32))
    last = {"a": f"{layers[-1].name}:v", "b": "scores:share"}
    made.append(Step("scores:mean", "mul", last, {"y": layers[-1].outputs["y"]}))
    return replace(network, steps=(*made, *tail), weights=weights)


def _neuron(last: bool) -> Attributes:
    """The last layer adds up what arrives; the others spike."""
    if last:
        return {"decay": 1.0, "threshold": NEVER}
    return {"decay": 1.0, "threshold": 1.0, "subtract": True, "leak": HALF}


def _chain(network: Network) -> tuple[list[Step], list[Step]]:
    """Layers in order with relu between them, and a softmax that may follow."""
    (value,), layers, tail = tuple(network.inputs), list[Step](), list[Step]()
    if len(network.outputs) != 1:
        raise ValueError(f"one output is converted, the network has {list(network.outputs)}")
    rectified = True  # what the next layer reads is not below zero
    products = rewrites.products(network)
    for step in network.steps:
        follows = step.inputs.get("x") == value and not tail
        if follows and step.operator == LAYER and step.name in products and rectified:
            layers.append(step)
            rectified = step.attributes.get("activation") == "relu"
        elif follows and step.operator == "relu" and layers:
            rectified = True
            layers[-1] = replace(layers[-1], outputs=step.outputs)
        elif follows and step.operator == "softmax" and layers:
            tail.append(step)
        else:
            raise ValueError(
                f"step {step.name!r} ({step.operator}) has no spiking counterpart where it stands: "
                "dense layers with relu between them, and a softmax at the end, have"
            )
        value = step.outputs["y"]
    if not layers:
        raise ValueError("nothing to convert: the network has no dense layer")
    if rectified:
        raise ValueError(f"the scores of {layers[-1].name!r} are rectified; they should not be")
    return layers, tail


def _top(name: str, seen: Observed, share: float) -> float:
    """What the activations that a layer reads rarely exceed."""
    top = ranges.percentile(seen, share).high
    if not top > 0:
        raise ValueError(f"{name!r} never got anything above zero on the calibration rows")
    return float(top)


def _kept(tail: list[Step], network: Network) -> set[str]:
    return {name for step in tail for name in step.inputs.values()} & network.weights.keys()
