"""A population whose neurons differ, and read each other over all steps of a call.

Spikes are bits, (n, steps, neurons). All results are the same bit by bit on every device; see
shared.spiking.recurrent.
"""

import numpy as np
from scipy import sparse

from shared.operators import dims, recurrent_cases, spike_trains
from shared.operators.attributes import sizes, whole
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
from shared.operators.spiking_layers import SLOPE, slope_of
from shared.sparse import products, triplets
from shared.spiking import layers, recurrent
from shared.spiking.recurrent import FIELDS, Neurons, Population, Ran, State
from shared.tensors.dtypes import F32, I32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense


def population_of(inputs: Tensors, attributes: Attributes) -> Population:
    """What a call says of neurons and of the synapses between them.

    Raises:
        ValueError: stages that are not all neurons together.
    """
    places = triplets.of(inputs["recurrent"])
    fraction = whole(attributes, "fraction")
    codes = layers.codes(places.values.astype(np.float32), fraction).astype(np.int64)
    rows, neurons = inputs["recurrent"].shape
    return Population(
        Neurons(*_array(inputs, "neurons")),
        sparse.csr_array((codes, (places.rows, places.cols)), shape=(rows, neurons)),
        stages_of(attributes, neurons),
        attributes["subtract"] is True,
        fraction,
    )


def stages_of(attributes: Attributes, neurons: int) -> tuple[int, ...]:
    """Neurons where stages end; raises like `recurrent.ends_of`."""
    return recurrent.ends_of(sizes(attributes, "stages"), neurons)


def recurrent_layer(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Spikes of all steps, and what goes into the next call."""
    ran = _ran(inputs, population_of(inputs, attributes))
    return {
        "spikes": spike_trains.bits(ran.spikes),
        "v_next": dense(ran.after.v),
        "i_next": dense(ran.after.i),
        "past_next": spike_trains.bits(ran.after.past),
    }


def _ran(inputs: Tensors, population: Population) -> Ran:
    synapses = layers.codes(_array(inputs, "weight"), population.fraction)
    bias: I32 | None = None
    if "bias" in inputs:
        bias = layers.codes(_array(inputs, "bias"), population.fraction)
    total = layers.sums(spike_trains.split(inputs["spikes"]), synapses, bias)
    return recurrent.run(total, _start(inputs, len(total), population), population)


def _start(inputs: Tensors, rows: int, population: Population) -> State:
    """At first neurons are at rest, and none has spiked."""
    shape = (rows, population.size)
    v = np.broadcast_to(population.neurons.leak, shape)
    past = np.zeros((rows, population.lags - 1, population.size), np.uint8)
    return State(
        np.array(_array(inputs, "v") if "v" in inputs else v),
        _array(inputs, "i") if "i" in inputs else np.zeros(shape, np.float32),
        spike_trains.split(inputs["past"]) if "past" in inputs else past,
    )


def recurrent_layer_gradient(call: Backward) -> dict[str, Tensor]:
    """Back through all steps and along all synapses; what was carried over has no gradient."""
    population = population_of(call.inputs, call.attributes)
    ran = _ran(call.inputs, population)
    outer = np.zeros(ran.spikes.shape, np.float32)
    if "spikes" in call.outer:
        outer = outer + _array(call.outer, "spikes")
    last = _array(call.outer, "v_next") if "v_next" in call.outer else None
    local = recurrent.slopes(ran, outer, population, slope_of(call.attributes), last)
    flat = local.reshape(-1, population.size)
    arrived = spike_trains.split(call.inputs["spikes"])
    found: dict[str, F32] = {}
    if "weight" in call.wanted:
        found["weight"] = flat.T @ arrived.reshape(len(flat), arrived.shape[2]).astype(np.float32)
    if "bias" in call.wanted and "bias" in call.inputs:
        found["bias"] = flat.sum(axis=0)
    if "spikes" in call.wanted:
        found["spikes"] = (flat @ _array(call.inputs, "weight")).reshape(arrived.shape)
    if "recurrent" in call.wanted:
        found["recurrent"] = _of_synapses(call.inputs, ran, local, population)
    return {port: dense(np.ascontiguousarray(slope)) for port, slope in found.items()}


def _of_synapses(inputs: Tensors, ran: Ran, local: F32, population: Population) -> F32:
    """For every stored synapse, the sum over all steps of the spike that it carried times the
    gradient where it arrived."""
    places, m = triplets.of(inputs["recurrent"]), population.size
    began = _start(inputs, len(local), population).past
    lately: F32 = np.concatenate([began, ran.spikes], axis=1).astype(np.float32)
    used, rows = np.unique(places.rows, return_inverse=True)
    steps, longest = local.shape[1], population.lags - 1
    sent = [
        lately[:, longest - row // m : longest - row // m + steps, row % m].reshape(-1)
        for row in used.tolist()
    ]
    if not sent:
        return np.zeros(0, np.float32)
    there = np.ascontiguousarray(local.reshape(-1, m).T)
    values = products.sampled_at(rows.reshape(-1), places.cols, np.stack(sent), there)
    stage = np.searchsorted(population.ends, np.arange(m), side="right")
    in_time = (places.rows >= m) | (stage[places.cols] > stage[places.rows % m])
    found = np.zeros(inputs["recurrent"].parts["values"].shape, np.float32)
    found[places.at] = np.where(in_time, values, 0.0)
    return found


def recurrent_layer_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (n, steps, k), weight (m, k), recurrent (lags m, m), neurons (7, m), bias (m,), v and
    i (n, m), past (n, lags - 1, m) give (n, steps, m) and what is carried, of two lags at least."""
    slope_of(attributes)
    n, steps, k = spike_trains.shape_of(inputs, "spikes")
    m, _ = dims.matrix(inputs, "weight")
    dims.require(inputs, "weight", (m, k), f"for spikes of {k} neurons")
    rows, _ = dims.matrix(inputs, "recurrent")
    lags = rows // max(m, 1)
    if m < 1 or lags < 2:
        raise ValueError(
            f"recurrent is (lags × neurons, neurons), of a neuron and two lags at least; got "
            f"{dims.sizes(inputs['recurrent'])} for weight {(m, k)}"
        )
    dims.require(inputs, "recurrent", (lags * m, m), f"for weight {(m, k)}")
    dims.require(inputs, "neurons", (len(FIELDS), m), f"for weight {(m, k)}: {', '.join(FIELDS)}")
    dims.require(inputs, "bias", (m,), f"for weight {(m, k)}")
    for port in ("v", "i"):
        dims.require(inputs, port, (n, m), f"for {n} rows and weight {(m, k)}")
    dims.require(inputs, "past", (n, lags - 1, m), f"for {lags} lags of {m} neurons")
    stages_of(attributes, m)
    if not 0 <= whole(attributes, "fraction") <= 24:
        raise ValueError(f"codes have 0 to 24 binary places, got {attributes['fraction']}")
    return {
        "spikes": TensorType(Layout.SPIKE_BITS, Dtype.F32, (n, steps, m)),
        "v_next": dims.f32(n, m),
        "i_next": dims.f32(n, m),
        "past_next": TensorType(Layout.SPIKE_BITS, Dtype.F32, (n, lags - 1, m)),
    }


def recurrent_layer_cost(inputs: Types, attributes: Attributes) -> Cost:
    """As if every input and every neuron spiked in every step: an addition per synapse; nine
    operations per neuron."""
    n, steps, k = spike_trains.shape_of(inputs, "spikes")
    m, _ = dims.matrix(inputs, "weight")
    made = recurrent_layer_types(inputs, attributes).values()
    each = m * (k + 9) + (inputs["recurrent"].nonzeros or 0)
    return Cost(float(n * steps * each), dims.traffic(inputs.values(), made))


def _array(inputs: Tensors, port: str) -> F32:
    return inputs[port].values.view(np.float32)


RECURRENT_LAYER = OperatorSpec(
    name="recurrent_layer",
    inputs=(
        Port("spikes", Layout.SPIKE_BITS),
        Port("weight"),
        Port("recurrent", Layout.CSR),
        Port("neurons"),
        Port("bias", optional=True),
        Port("v", optional=True),
        Port("i", optional=True),
        Port("past", Layout.SPIKE_BITS, optional=True),
    ),
    outputs=(
        Port("spikes", Layout.SPIKE_BITS),
        Port("v_next"),
        Port("i_next"),
        Port("past_next", Layout.SPIKE_BITS),
    ),
    infer=recurrent_layer_types,
    reference=recurrent_layer,
    cost=recurrent_layer_cost,
    cases=recurrent_cases.recurrent_layer,
    attributes=(
        Attribute("fraction", int, 16, "binary places of the weights"),
        Attribute("subtract", bool, False, "after a spike the threshold is subtracted instead"),
        Attribute("stages", tuple, (), "neurons of each stage of a step; empty: all are one"),
        *SLOPE,
    ),
    gradient=recurrent_layer_gradient,
    jumps=True,
)
