"""Whole layers of spiking neurons over all steps of a call.

Spikes are bits, (n, steps, neurons): the batch first, so that calls ride together. All results are
the same bit by bit on every device; see shared.spiking.layers.
"""

import numpy as np

from shared.operators import dims, spike_trains, spiking_cases
from shared.operators.spec import (
    Attribute,
    Attributes,
    Backward,
    Cost,
    OperatorSpec,
    Port,
    Tensors,
    Types,
)
from shared.spiking import layers
from shared.spiking.layers import SURROGATES, Layer, Slope
from shared.tensors.dtypes import F32, I32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

FILTERS = ("synapse", "couple", "direct")


def layer_of(attributes: Attributes) -> Layer:
    """What an operator's attributes say of a layer.

    Raises:
        ValueError: it is no layer.
    """
    given = {name: attributes[name] for name in ("decay", "leak", "threshold", "reset")}
    whole = {"subtract": attributes["subtract"], "fraction": attributes["fraction"]}
    filters = {name: attributes[name] for name in FILTERS if name in attributes}
    return Layer(**given, **whole, **filters)  # type: ignore[arg-type]  # kinds by the spec


def slope_of(attributes: Attributes) -> Slope:
    """What an operator's attributes say of training.

    Raises:
        ValueError: it is no slope.
    """
    given = {name: attributes[name] for name in ("surrogate", "steep", "truncate")}
    return Slope(**given)  # type: ignore[arg-type]  # kinds by the spec


def lif_layer(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Spikes and last potentials of a layer; see `layers` for the steps."""
    layer, total = _driven(inputs, attributes)
    made = layers.run(total, _start(inputs, total.shape, layer), layer, _current(inputs))
    found = {"spikes": spike_trains.bits(made.spikes), "v_next": dense(made.v)}
    return found if layer.synapse is None else {**found, "i_next": dense(made.i)}


def _driven(inputs: Tensors, attributes: Attributes) -> tuple[Layer, I32]:
    layer = layer_of(attributes)
    synapses = layers.codes(_array(inputs, "weight"), layer.fraction)
    bias = layers.codes(_array(inputs, "bias"), layer.fraction) if "bias" in inputs else None
    return layer, layers.sums(spike_trains.split(inputs["spikes"]), synapses, bias)


def _start(inputs: Tensors, shape: tuple[int, ...], layer: Layer) -> F32:
    if "v" in inputs:
        return _array(inputs, "v")
    return np.full((shape[0], shape[2]), layer.leak, np.float32)


def _current(inputs: Tensors) -> F32 | None:
    return _array(inputs, "i") if "i" in inputs else None


def lif_layer_gradient(call: Backward) -> dict[str, Tensor]:
    """Back through all steps with the surrogate's slope; potentials carried over have none."""
    layer, total = _driven(call.inputs, call.attributes)
    start = _start(call.inputs, total.shape, layer)
    made, _, _, before = layers.run(total, start, layer, _current(call.inputs))
    outer = np.zeros(made.shape, np.float32)
    if "spikes" in call.outer:
        outer = outer + call.outer["spikes"].values.view(np.float32)
    last = call.outer["v_next"].values.view(np.float32) if "v_next" in call.outer else None
    local = layers.slopes(before, made, outer, layer, slope_of(call.attributes), last)
    (n, steps, k), m = call.inputs["spikes"].shape, local.shape[2]
    flat = local.reshape(n * steps, m)
    found: dict[str, F32] = {}
    if "weight" in call.wanted:
        arrived = spike_trains.split(call.inputs["spikes"]).reshape(n * steps, k).astype(np.float32)
        found["weight"] = flat.T @ arrived
    if "bias" in call.wanted and "bias" in call.inputs:
        found["bias"] = flat.sum(axis=0)
    if "spikes" in call.wanted:
        found["spikes"] = (flat @ _array(call.inputs, "weight")).reshape(n, steps, k)
    return {port: dense(np.ascontiguousarray(slope)) for port, slope in found.items()}


def lif_layer_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (n, steps, k), weight (m, k), bias (m,), v (n, m) give (n, steps, m) and (n, m)."""
    layer_of(attributes), slope_of(attributes)
    n, steps, k = spike_trains.shape_of(inputs, "spikes")
    m, _ = dims.matrix(inputs, "weight")
    dims.require(inputs, "weight", (m, k), f"for spikes of {k} neurons")
    dims.require(inputs, "bias", (m,), f"for weight {(m, k)}")
    for port in ("v", "i"):
        dims.require(inputs, port, (n, m), f"for {n} rows and weight {(m, k)}")
    spikes = TensorType(Layout.SPIKE_BITS, Dtype.F32, (n, steps, m))
    return {"spikes": spikes, "v_next": dims.f32(n, m)}


def cuba_layer_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """As `lif_layer_types`, with currents i (n, m) beside v."""
    made = lif_layer_types(inputs, attributes)
    return {**made, "i_next": made["v_next"]}


def lif_layer_cost(inputs: Types, attributes: Attributes) -> Cost:
    """As if every input spiked in every step: an addition each; five operations per neuron."""
    n, steps, k = spike_trains.shape_of(inputs, "spikes")
    m, _ = dims.matrix(inputs, "weight")
    made = list(lif_layer_types(inputs, attributes).values())
    if "synapse" in attributes:
        made.append(made[-1])
    return Cost(float(n * steps * m * (k + 5)), dims.traffic(inputs.values(), made))


def _array(inputs: Tensors, port: str) -> F32:
    return inputs[port].values.view(np.float32)


_SPIKES = Port("spikes", Layout.SPIKE_BITS)
_ARRIVES = (_SPIKES, Port("weight"), Port("bias", optional=True), Port("v", optional=True))
SLOPE = (
    Attribute("surrogate", str, "fast_sigmoid", "for training", choices=tuple(SURROGATES)),
    Attribute("steep", float, 4.0, "of the surrogate"),
    Attribute("truncate", int, 0, "steps that slopes go back through time at most; 0: all"),
)
_NEURON = (
    Attribute("decay", float, None, "share of v - leak that is left after a step"),
    Attribute("leak", float, 0.0, "potential without input"),
    Attribute("threshold", float, 1.0, "a potential strictly above it spikes"),
    Attribute("reset", float, 0.0, "potential after a spike"),
    Attribute("subtract", bool, False, "after a spike the threshold is subtracted instead"),
    Attribute("fraction", int, 16, "binary places of the weights"),
    *SLOPE,
)

LIF_LAYER = OperatorSpec(
    name="lif_layer",
    inputs=_ARRIVES,
    outputs=(_SPIKES, Port("v_next")),
    infer=lif_layer_types,
    reference=lif_layer,
    cost=lif_layer_cost,
    cases=spiking_cases.lif_layer,
    attributes=_NEURON,
    gradient=lif_layer_gradient,
    jumps=True,
)
CUBA_LAYER = OperatorSpec(
    name="cuba_layer",
    inputs=(*_ARRIVES, Port("i", optional=True)),
    outputs=(_SPIKES, Port("v_next"), Port("i_next")),
    infer=cuba_layer_types,
    reference=lif_layer,
    cost=lif_layer_cost,
    cases=spiking_cases.cuba_layer,
    attributes=(
        *_NEURON,
        Attribute("synapse", float, None, "share of a synaptic current left after a step"),
        Attribute("couple", float, None, "potential per unit of current at its beginning"),
        Attribute("direct", float, 0.0, "potential per unit of what arrives in a step"),
    ),
    gradient=lif_layer_gradient,
    jumps=True,
)
