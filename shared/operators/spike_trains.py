"""Spikes as bits over all steps of a call: from numbers and back, counted.

Spikes are bits, (n, steps, neurons): the batch first, so that calls ride together. All results are
the same bit by bit on every device; see shared.spiking.rates.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from shared.operators import dims, spiking_cases
from shared.operators.attributes import whole
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
from shared.spiking import rates
from shared.tensors import packing
from shared.tensors.dtypes import F32, U8, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

MAX_STEPS = 100_000
Infer = Callable[[Types, Attributes], dict[str, TensorType]]


def split(tensor: Tensor) -> U8:
    """Spikes (..., neurons) as uint8 of 0 and 1."""
    return packing.split_spikes(tensor.parts["words"].view(np.uint32), tensor.shape[-1])


def bits(spikes: U8) -> Tensor:
    """Spikes (..., neurons) of 0 and 1 as bits."""
    return spiking_cases.bits(spikes)


def shape_of(inputs: Types, port: str) -> tuple[int, int, int]:
    """Rows, steps and neurons of spikes.

    Raises:
        ValueError: they are not (n, steps, neurons), or have no step.
    """
    shape = dims.sizes(inputs[port])
    if len(shape) != 3 or shape[1] < 1:
        raise ValueError(f"{port} must be (n, steps, neurons) with a step at least, got {shape}")
    return shape[0], shape[1], shape[2]


def rate_encode(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Every number from 0 to 1 as the share of steps in which a neuron spikes."""
    x, steps = _array(inputs, "x"), whole(attributes, "steps")
    if attributes["mode"] == "evenly":
        return {"spikes": bits(rates.evenly(x, steps))}
    return {"spikes": bits(rates.randomly(x, steps, whole(attributes, "seed")))}


def rate_encode_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x (n, k) gives spikes (n, steps, k)."""
    n, k = dims.matrix(inputs, "x")
    steps, seed = whole(attributes, "steps"), whole(attributes, "seed")
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
    return {"spikes": TensorType(Layout.SPIKE_BITS, Dtype.F32, shape_of(inputs, "x"))}


def spike_unpack(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Spikes as float32 of 0 and 1."""
    return {"y": dense(split(inputs["spikes"]).astype(np.float32))}


def spike_unpack_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """spikes (n, steps, k) give y of that shape."""
    return {"y": dims.f32(*shape_of(inputs, "spikes"))}


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
    n, _, k = shape_of(inputs, "spikes")
    return {"y": dims.f32(n, k)}


def spike_rate_cost(inputs: Types, attributes: Attributes) -> Cost:
    """An addition per bit."""
    made = spike_rate_types(inputs, attributes).values()
    return Cost(float(dims.elements(inputs["spikes"])), dims.traffic(inputs.values(), made))


def _array(inputs: Tensors, port: str) -> F32:
    return inputs[port].values.view(np.float32)


_SPIKES = Port("spikes", Layout.SPIKE_BITS)

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
