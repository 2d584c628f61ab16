"""Whole layers of spiking neurons over all steps of a call, and numbers to spikes and back.

Spikes are bits, (n, steps, neurons): the batch first, so that calls ride together. All results are
the same bit by bit on every device; see shared.spiking.layers and shared.spiking.rates.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from shared.operators import dims, spiking_cases
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
from shared.spiking import layers, rates
from shared.spiking.layers import SURROGATES, Layer, Slope
from shared.tensors import packing
from shared.tensors.dtypes import F32, I32, U8, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

MAX_STEPS = 100_000
FILTERS = ("synapse", "couple", "direct")
Infer = Callable[[Types, Attributes], dict[str, TensorType]]


def split(tensor: Tensor) -> U8:
    """Spikes (..., neurons) as uint8 of 0 and 1."""
    return packing.split_spikes(tensor.parts["words"].view(np.uint32), tensor.shape[-1])


def bits(spikes: U8) -> Tensor:
    """Spikes (..., neurons) of 0 and 1 as bits."""
    return spiking_cases.bits(spikes)


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
    found = {"spikes": bits(made.spikes), "v_next": dense(made.v)}
    return found if layer.synapse is None else {**found, "i_next": dense(made.i)}


def _driven(inputs: Tensors, attributes: Attributes) -> tuple[Layer, I32]:
    layer = layer_of(attributes)
    synapses = layers.codes(_array(inputs, "weight"), layer.fraction)
    bias = layers.codes(_array(inputs, "bias"), layer.fraction) if "bias" in inputs else None
    return layer, layers.sums(split(inputs["spikes"]), synapses, bias)


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
        arrived = split(call.inputs["spikes"]).reshape(n * steps, k).astype(np.float32)
        found["weight"] = flat.T @ arrived
    if "bias" in call.wanted and "bias" in call.inputs:
        found["bias"] = flat.sum(axis=0)
    if "spikes" in call.wanted:
        found["spikes"] = (flat @ _array(call.inputs, "weight")).reshape(n, steps, k)
    return {port: dense(np.ascontiguousarray(slope)) for port, slope in found.items()}


def lif_layer_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (n, steps, k), weight (m, k), bias (m,), v (n, m) give (n, steps, m) and (n, m)."""
    layer_of(attributes), slope_of(attributes)
    n, steps, k = _train(inputs, "spikes")
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
    n, steps, k = _train(inputs, "spikes")
    m, _ = dims.matrix(inputs, "weight")
    made = list(lif_layer_types(inputs, attributes).values())
    if "synapse" in attributes:
        made.append(made[-1])
    return Cost(float(n * steps * m * (k + 5)), dims.traffic(inputs.values(), made))


def rate_encode(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Every number from 0 to 1 as the share of steps in which a neuron spikes."""
    x, steps = _array(inputs, "x"), _whole(attributes, "steps")
    if attributes["mode"] == "evenly":
        return {"spikes": bits(rates.evenly(x, steps))}
    return {"spikes": bits(rates.randomly(x, steps, _whole(attributes, "seed")))}


def rate_encode_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x (n, k) gives spikes (n, steps, k)."""
    n, k = dims.matrix(inputs, "x")
    steps, seed = _whole(attributes, "steps"), _whole(attributes, "seed")
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be 1 to {MAX_STEPS}, got {steps}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must be 0 to {2**31 - 1}, got {seed}")
    return {"spikes": TensorType(Layout.SPIKE_BITS, Dtype.F32, (n, steps, k))}


def rate_encode_cost(inputs: Types, attributes: Attributes) -> Cost:
    """Two operations for every bit."""
    made = rate_encode_types(inputs, attributes)["spikes"]
    return Cost(2.0 * dims.elements(made), dims.traffic(inputs.values(), [made]))


def spike_pack(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Numbers as spikes: what is above a half is one; NaN is none."""
    return {"spikes": bits((_array(inputs, "x") > np.float32(0.5)).astype(np.uint8))}


def spike_pack_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x (n, steps, k) gives spikes of that shape."""
    return {"spikes": TensorType(Layout.SPIKE_BITS, Dtype.F32, _train(inputs, "x"))}


def spike_unpack(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Spikes as float32 of 0 and 1."""
    return {"y": dense(split(inputs["spikes"]).astype(np.float32))}


def spike_unpack_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (n, steps, k) give y of that shape."""
    return {"y": dims.f32(*_train(inputs, "spikes"))}


def moved_cost(infer: Infer, inputs: Types, attributes: Attributes) -> Cost:
    """One operation per element; all is read and written once."""
    made = infer(inputs, attributes).values()
    count = sum(dims.elements(kind) for kind in inputs.values())
    return Cost(float(count), dims.traffic(inputs.values(), made))


def spike_rate(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """The share of steps in which each neuron spiked: count × (1 / steps) in float32."""
    steps = inputs["spikes"].shape[1]
    count: F32 = split(inputs["spikes"]).sum(axis=1, dtype=np.int64).astype(np.float32)
    return {"y": dense(np.asarray(count * (np.float32(1.0) / np.float32(steps))))}


def spike_rate_gradient(call: Backward) -> dict[str, Tensor]:
    """g / steps in every step."""
    shape = call.inputs["spikes"].shape
    share: F32 = call.outer["y"].values.view(np.float32) / np.float32(shape[1])
    return {"spikes": dense(np.repeat(share[:, np.newaxis], shape[1], axis=1))}


def spike_rate_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (n, steps, k) give y (n, k)."""
    n, _, k = _train(inputs, "spikes")
    return {"y": dims.f32(n, k)}


def spike_rate_cost(inputs: Types, attributes: Attributes) -> Cost:
    """An addition per bit."""
    made = spike_rate_types(inputs, attributes).values()
    return Cost(float(dims.elements(inputs["spikes"])), dims.traffic(inputs.values(), made))


def _train(inputs: Types, port: str) -> tuple[int, int, int]:
    shape = dims.sizes(inputs[port])
    if len(shape) != 3 or shape[1] < 1:
        raise ValueError(f"{port} must be (n, steps, neurons) with a step at least, got {shape}")
    return shape[0], shape[1], shape[2]


def _array(inputs: Tensors, port: str) -> F32:
    return inputs[port].values.view(np.float32)


def _whole(attributes: Attributes, name: str) -> int:
    return int(attributes[name])  # type: ignore[arg-type]  # kind by the spec


_SPIKES = Port("spikes", Layout.SPIKE_BITS)
_ARRIVES = (_SPIKES, Port("weight"), Port("bias", optional=True), Port("v", optional=True))
_NEURON = (
    Attribute("decay", float, None, "share of v - leak that is left after a step"),
    Attribute("leak", float, 0.0, "potential without input"),
    Attribute("threshold", float, 1.0, "a potential strictly above it spikes"),
    Attribute("reset", float, 0.0, "potential after a spike"),
    Attribute("subtract", bool, False, "after a spike the threshold is subtracted instead"),
    Attribute("fraction", int, 16, "binary places of the weights"),
    Attribute("surrogate", str, "fast_sigmoid", "for training", choices=tuple(SURROGATES)),
    Attribute("steep", float, 4.0, "of the surrogate"),
    Attribute("truncate", int, 0, "steps that slopes go back through time at most; 0: all"),
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
RATE_ENCODE = OperatorSpec(
    name="rate_encode",
    inputs=(Port("x"),),
    outputs=(_SPIKES,),
    infer=rate_encode_types,
    reference=rate_encode,
    cost=rate_encode_cost,
    cases=spiking_cases.rate_encode,
    attributes=(
        Attribute("steps", int, None, "time steps"),
        Attribute("mode", str, "evenly", "how spikes are spaced", choices=("evenly", "randomly")),
        Attribute("seed", int, 0, "of what is random"),
    ),
    jumps=True,
)
SPIKE_RATE = OperatorSpec(
    name="spike_rate",
    inputs=(_SPIKES,),
    outputs=(Port("y"),),
    infer=spike_rate_types,
    reference=spike_rate,
    cost=spike_rate_cost,
    cases=spiking_cases.spike_rate,
    gradient=spike_rate_gradient,
)
SPIKE_PACK = OperatorSpec(
    name="spike_pack",
    inputs=(Port("x"),),
    outputs=(_SPIKES,),
    infer=spike_pack_types,
    reference=spike_pack,
    cost=partial(moved_cost, spike_pack_types),
    cases=spiking_cases.spike_pack,
    jumps=True,
)
SPIKE_UNPACK = OperatorSpec(
    name="spike_unpack",
    inputs=(_SPIKES,),
    outputs=(Port("y"),),
    infer=spike_unpack_types,
    reference=spike_unpack,
    cost=partial(moved_cost, spike_unpack_types),
    cases=spiking_cases.spike_rate,
)
