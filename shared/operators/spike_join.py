"""Spikes of two populations side by side: what neurons read that take from both."""

from functools import partial

import numpy as np

from shared.operators import dims, spike_trains, spiking_cases
from shared.operators.spec import Attributes, Backward, OperatorSpec, Port, Tensors, Types
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense


def spike_join(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """The neurons of a, then those of b."""
    both = [spike_trains.split(inputs[port]) for port in ("a", "b")]
    return {"spikes": spike_trains.bits(np.concatenate(both, axis=2))}


def spike_join_gradient(call: Backward) -> dict[str, Tensor]:
    """Each takes its own part."""
    outer: F32 = call.outer["spikes"].values.view(np.float32)
    own = call.inputs["a"].shape[2]
    parts = {"a": outer[:, :, :own], "b": outer[:, :, own:]}
    return {port: dense(np.ascontiguousarray(parts[port])) for port in call.wanted}


def spike_join_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """a (n, steps, k) and b (n, steps, m) give spikes (n, steps, k + m)."""
    first, second = (dims.sizes(inputs[port]) for port in ("a", "b"))
    if not len(first) == len(second) == 3 or first[:2] != second[:2] or first[1] < 1:
        raise ValueError(
            "a and b are (n, steps, neurons), of the same rows and steps and with a step at least; "
            f"got {first} and {second}"
        )
    shape = (*first[:2], first[2] + second[2])
    return {"spikes": TensorType(Layout.SPIKE_BITS, Dtype.F32, shape)}


SPIKE_JOIN = OperatorSpec(
    name="spike_join",
    inputs=(Port("a", Layout.SPIKE_BITS), Port("b", Layout.SPIKE_BITS)),
    outputs=(Port("spikes", Layout.SPIKE_BITS),),
    infer=spike_join_types,
    reference=spike_join,
    cost=partial(spike_trains.moved_cost, spike_join_types),
    cases=spiking_cases.spike_join,
    gradient=spike_join_gradient,
)
