"""A layer of spiking neurons that learns from one stream as it runs; see shared.spiking.plastic.

Every output `<port>_next` is what the port reads in the next call, so a stream may be cut anywhere.
"""

from collections.abc import Iterator

import numpy as np

from shared.operators import dims, samples, spike_trains, spiking_cases
from shared.operators.spec import (
    Attribute,
    Attributes,
    Case,
    Cost,
    OperatorSpec,
    Port,
    Tensors,
    Types,
)
from shared.operators.spiking_cases import Rng
from shared.spiking import layers, plastic
from shared.spiking.layers import Layer
from shared.spiking.plastic import Competition, Rule, State
from shared.tensors.dtypes import F32, I32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

NEURON = ("decay", "leak", "threshold", "reset", "fraction")
RULE = ("a_plus", "a_minus", "decay_pre", "decay_post", "offset", "w_min", "w_max", "nearest")
KEPT = ("v", "theta", "pre_trace", "post_trace")  # beside the weight
RIVALS = ("theta_plus", "theta_decay", "inhibition", "alone")


def parts_of(attributes: Attributes) -> tuple[Layer, Rule, Competition]:
    """What an operator's attributes say of neurons, synapses and competition.

    Raises:
        ValueError: they are none.
    """
    layer, rule, rivals = (
        {name: attributes[name] for name in names} for names in (NEURON, RULE, RIVALS)
    )
    return Layer(**layer), Rule(**rule), Competition(**rivals)  # type: ignore[arg-type]  # kinds by the spec


def plastic_layer(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Spikes of all steps, and all that the layer keeps."""
    layer, rule, rivals = parts_of(attributes)
    (spikes,) = spike_trains.split(inputs["spikes"])
    fired, after = plastic.run(
        spikes, start(inputs, layer), bias_of(inputs, layer), layer, rule, rivals
    )
    return results(spike_trains.bits(fired[np.newaxis]), after)


def results(spikes: Tensor, after: State) -> dict[str, Tensor]:
    """A call's outputs."""
    return {
        "spikes": spikes,
        "weight_next": dense(after.weight),
        "v_next": dense(after.v[np.newaxis]),
        "theta_next": dense(after.theta),
        "pre_trace_next": dense(after.pre_trace),
        "post_trace_next": dense(after.post_trace),
    }


def start(inputs: Tensors, layer: Layer) -> State:
    """What the layer remembers before the call: at first it rests, and nothing has spiked."""
    m, k = inputs["weight"].shape

    def first(port: str, size: int, otherwise: float) -> F32:
        if port in inputs:
            return inputs[port].values.view(np.float32).reshape(size)
        return np.full(size, otherwise, np.float32)

    return State(
        inputs["weight"].values.view(np.float32),
        first("v", m, layer.leak),
        first("theta", m, 0.0),
        first("pre_trace", k, 0.0),
        first("post_trace", m, 0.0),
    )


def bias_of(inputs: Tensors, layer: Layer) -> I32 | None:
    """The bias as whole numbers."""
    if "bias" not in inputs:
        return None
    return layers.codes(inputs["bias"].values.view(np.float32), layer.fraction)


def plastic_layer_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (1, steps, k), weight (m, k), bias (m,), v (1, m), theta (m,), pre_trace (k,),
    post_trace (m,) give spikes (1, steps, m) and all but the bias again."""
    parts_of(attributes)
    shape = dims.sizes(inputs["spikes"])
    if len(shape) != 3 or shape[0] != 1 or shape[1] < 1:
        raise ValueError(
            f"a layer that learns takes the spikes of one stream, (1, steps, neurons) with a step "
            f"at least, got {shape}"
        )
    steps, k = shape[1:]
    m, _ = dims.matrix(inputs, "weight")
    dims.require(inputs, "weight", (m, k), f"for spikes of {k} neurons")
    sizes = {"v": (1, m), "theta": (m,), "pre_trace": (k,), "post_trace": (m,)}
    for port, wanted in {"bias": (m,), **sizes}.items():
        dims.require(inputs, port, wanted, f"for weight {(m, k)}")
    made = {"weight": (m, k), **sizes}
    return {
        "spikes": TensorType(Layout.SPIKE_BITS, Dtype.F32, (1, steps, m)),
        **{f"{port}_next": dims.f32(*size) for port, size in made.items()},
    }


def plastic_layer_cost(inputs: Types, attributes: Attributes) -> Cost:
    """As if every input spiked in every step: an addition for what arrives, three operations for
    what is learned; ten per neuron."""
    _, steps, k = dims.sizes(inputs["spikes"])
    m, _ = dims.matrix(inputs, "weight")
    made = plastic_layer_types(inputs, attributes).values()
    return Cost(float(steps * m * (4 * k + 10)), dims.traffic(inputs.values(), made))


def cases(rng: Rng) -> Iterator[Case]:
    """Sizes around words; every rule and every way to compete; what was carried or was not."""
    learns = {"a_plus": 0.05, "a_minus": 0.03, "decay_pre": 0.9, "decay_post": 0.8, "offset": 0.3}
    rivals = {"theta_plus": 0.2, "theta_decay": 0.99, "inhibition": 0.7, "alone": True}
    common = {"decay": 0.9, "threshold": 0.8}
    for name, steps, k, m, given in (
        ("learns", 16, 37, 19, learns),
        ("nearest", 16, 37, 19, {**learns, "nearest": True}),
        ("competes", 60, 70, 33, {**learns, **rivals}),
        ("fixed", 20, 64, 32, {}),
        ("one_of_each", 12, 1, 1, {**learns, "inhibition": 0.5}),
    ):
        yield Case(name, _call(rng, steps, k, m), {**common, **given})
    carried = _call(rng, 12, 40, 21)
    carried |= {
        "v": samples.f32(rng.normal(0, 0.3, (1, 21))),
        "bias": samples.f32(rng.normal(0, 0.1, 21)),
        "theta": samples.f32(rng.random(21)),
        "pre_trace": samples.f32(rng.random(40)),
        "post_trace": samples.f32(rng.random(21)),
    }
    yield Case("carried", carried, {**common, **learns, **rivals, "leak": -0.1, "reset": -0.2})
    wild = {**common, **learns, "a_plus": 9.0, "w_max": 0.4}
    yield Case("saturates", _call(rng, 10, 20, 9), wild)


def _call(rng: Rng, steps: int, k: int, m: int) -> dict[str, Tensor]:
    weight = samples.f32(rng.random((m, k)) * 0.6)
    return {"spikes": spiking_cases.train(rng, 1, steps, k, 0.2), "weight": weight}


PLASTIC_LAYER = OperatorSpec(
    name="plastic_layer",
    inputs=(
        Port("spikes", Layout.SPIKE_BITS),
        Port("weight"),
        Port("bias", optional=True),
        *(Port(name, optional=True) for name in KEPT),
    ),
    outputs=(
        Port("spikes", Layout.SPIKE_BITS),
        *(Port(f"{name}_next") for name in ("weight", *KEPT)),
    ),
    infer=plastic_layer_types,
    reference=plastic_layer,
    cost=plastic_layer_cost,
    cases=cases,
    attributes=(
        Attribute("decay", float, None, "share of v - leak that is left after a step"),
        Attribute("leak", float, 0.0, "potential without input"),
        Attribute("threshold", float, 1.0, "a potential strictly above it, and theta, spikes"),
        Attribute("reset", float, 0.0, "potential after a spike"),
        Attribute("fraction", int, 16, "binary places of the weights"),
        Attribute("a_plus", float, 0.0, "weight gained at a neuron's spike, per unit of trace"),
        Attribute("a_minus", float, 0.0, "weight lost at an input's spike, per unit of trace"),
        Attribute("decay_pre", float, 0.0, "share of an input's trace that is left after a step"),
        Attribute("decay_post", float, 0.0, "share of a neuron's trace that is left after a step"),
        Attribute("offset", float, 0.0, "trace below which a spike of the neuron weakens"),
        Attribute("w_min", float, 0.0, "lower bound of a weight"),
        Attribute("w_max", float, 1.0, "upper bound of a weight"),
        Attribute("nearest", bool, False, "only the last spike before counts, not all"),
        Attribute("theta_plus", float, 0.0, "what a spike adds to the neuron's own threshold"),
        Attribute("theta_decay", float, 1.0, "share of that which is left after a step"),
        Attribute("inhibition", float, 0.0, "what a spike takes from the potentials of all others"),
        Attribute("alone", bool, False, "at most one neuron fires in a step"),
    ),
    jumps=True,
)
