"""Neurons and synapses, one time step per call; see shared.spiking for equations and sources."""

from collections.abc import Iterator

import numpy as np

from shared.operators import dims, samples
from shared.operators.attributes import number
from shared.operators.spec import (
    Attribute,
    Attributes,
    Case,
    Cost,
    OperatorSpec,
    Port,
    Scalar,
    Tensors,
    Tolerance,
    Types,
)
from shared.spiking import lif, stdp
from shared.spiking.lif import LifStep
from shared.spiking.stdp import StdpState, StdpStep
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, TensorType, dense


def _array(inputs: Tensors, port: str) -> F32:
    return inputs[port].values.view(np.float32)


# lif_step


def lif_step(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """One step of leaky integrate-and-fire neurons, in float32 and in the order of the formula.

    A backend may contract multiply and add, so a potential within rounding of the threshold may
    fall on the other side there.
    """
    v_next, spikes = lif.advance(
        _array(inputs, "v"), _array(inputs, "current"), _lif_params(attributes)
    )
    return {"v_next": dense(v_next), "spikes": dense(spikes)}


def _lif_params(attributes: Attributes) -> LifStep:
    return LifStep(*(number(attributes, attribute.name) for attribute in LIF_STEP.attributes))


def lif_step_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """v and current (n, m) give v_next and spikes (n, m)."""
    n, m = dims.matrix(inputs, "v")
    dims.require(inputs, "current", (n, m), "like v")
    return {"v_next": dims.f32(n, m), "spikes": dims.f32(n, m)}


def lif_step_cost(inputs: Types, attributes: Attributes) -> Cost:
    """Per neuron three sums, two products and one comparison; two values read, two written."""
    count = dims.elements(inputs["v"])
    return Cost(6.0 * count, 16.0 * count)


def lif_step_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Batches of every size, potentials exactly at the threshold, all parameters away from 0."""
    leak: dict[str, Scalar] = {"decay": 0.9}
    full = leak | {"gain": 0.5, "v_rest": -0.25, "v_threshold": 0.75, "v_reset": -0.5}
    for name, n, m in (
        ("one_neuron", 1, 1),
        ("one_row", 1, 100),
        ("odd_sizes", 3, 37),
        ("whole_tiles", 4, 256),
        ("large", 33, 515),
        ("empty_batch", 0, 8),
    ):
        yield Case(name, _population(rng, n, m, LifStep(0.9, 1.0, 0.0, 1.0, 0.0)), leak)
        params = LifStep(0.9, 0.5, -0.25, 0.75, -0.5)
        yield Case(f"{name}_all_parameters", _population(rng, n, m, params), full)
    yield Case("at_rest", {"v": samples.zeros(2, 5), "current": samples.zeros(2, 5)}, leak)
    # 0.5 × 1 + 0.5 = 1 is at the threshold of 1 and no spike; one unit in the last place more is.
    above = float(np.nextafter(np.float32(0.5), np.float32(1.0)))
    edge = {"v": samples.f32([[1.0, 1.0]]), "current": samples.f32([[0.5, 2 * above - 0.5]])}
    yield Case("exactly_at_threshold", edge, {"decay": 0.5})
    v = samples.with_nan(samples.zeros(2, 5), 1, 3)
    yield Case("nan_potential", {"v": v, "current": samples.zeros(2, 5)}, leak)


def _population(rng: np.random.Generator, n: int, m: int, params: LifStep) -> dict[str, Tensor]:
    """Random state and current, with no potential within 0.01 of the threshold after the step."""
    v: F32 = samples.normal(rng, n, m).values.astype(np.float32)
    current: F32 = samples.normal(rng, n, m).values.astype(np.float32)
    u = params.v_rest + params.decay * (v - params.v_rest) + params.gain * current
    close = np.abs(u - params.v_threshold) < 0.01
    moved = current + np.float32(0.03 / params.gain) * close
    return {"v": dense(v), "current": dense(moved.astype(np.float32))}


LIF_STEP = OperatorSpec(
    name="lif_step",
    inputs=(Port("v"), Port("current")),
    outputs=(Port("v_next"), Port("spikes")),
    infer=lif_step_types,
    reference=lif_step,
    cost=lif_step_cost,
    cases=lif_step_cases,
    attributes=(
        Attribute("decay", float, None, "share of v - v_rest that is left after the step"),
        Attribute("gain", float, 1.0, "potential per unit of current"),
        Attribute("v_rest", float, 0.0, "potential without input"),
        Attribute("v_threshold", float, 1.0, "a potential strictly above it spikes"),
        Attribute("v_reset", float, 0.0, "potential after a spike"),
    ),
    tolerance=Tolerance(rtol=1e-6, atol=1e-6),
    jumps=True,
)


# stdp_update


def stdp_update(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """One step of pair-based plasticity, in float32 and in the order of the formulas."""
    state = StdpState(
        _array(inputs, "weight"), _array(inputs, "pre_trace"), _array(inputs, "post_trace")
    )
    a_plus, a_minus, decay_pre, decay_post, w_min, w_max = (
        number(attributes, a.name) for a in STDP_UPDATE.attributes
    )
    params = StdpStep(a_plus, a_minus, decay_pre, decay_post, w_min, w_max)
    after = stdp.advance(state, _array(inputs, "pre_spikes"), _array(inputs, "post_spikes"), params)
    return {
        "weight_next": dense(after.weight),
        "pre_trace_next": dense(after.pre_trace),
        "post_trace_next": dense(after.post_trace),
    }


def stdp_update_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """weight (post, pre) and four vectors give the next weight and the two next traces."""
    post, pre = dims.matrix(inputs, "weight")
    for port, size in (("pre", pre), ("post", post)):
        dims.require(inputs, f"{port}_spikes", (size,), f"for weight {(post, pre)}")
        dims.require(inputs, f"{port}_trace", (size,), f"for weight {(post, pre)}")
    low, high = number(attributes, "w_min"), number(attributes, "w_max")
    if low > high:
        raise ValueError(f"w_min {low} exceeds w_max {high}")
    return {
        "weight_next": dims.f32(post, pre),
        "pre_trace_next": dims.f32(pre),
        "post_trace_next": dims.f32(post),
    }


def stdp_update_cost(inputs: Types, attributes: Attributes) -> Cost:
    """Per synapse two products, two sums and two comparisons; per neuron two products, one sum."""
    post, pre = dims.matrix(inputs, "weight")
    outputs = stdp_update_types(inputs, attributes).values()
    flops = 6 * post * pre + 3 * (post + pre)
    return Cost(float(flops), dims.traffic(inputs.values(), outputs))


def stdp_update_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Sizes around tile edges, silence, and weights that meet both bounds."""
    rule: dict[str, Scalar] = {
        "a_plus": 0.1,
        "a_minus": 0.12,
        "decay_pre": 0.9,
        "decay_post": 0.8,
    }
    for name, post, pre in (
        ("one_synapse", 1, 1),
        ("odd_sizes", 19, 37),
        ("whole_tiles", 64, 64),
        ("large", 65, 300),
        ("no_post_neurons", 0, 4),
        ("no_pre_neurons", 4, 0),
    ):
        yield Case(name, _synapses(rng, post, pre), rule)
    bounds = {"w_min": 0.45, "w_max": 0.55}
    yield Case("both_bounds", _synapses(rng, 8, 8), rule | bounds)
    silent = {"pre_spikes": samples.zeros(6), "post_spikes": samples.zeros(5)}
    yield Case("silence", _synapses(rng, 5, 6) | silent, rule)
    synapses = _synapses(rng, 5, 6)
    weight = samples.with_nan(synapses["weight"], 2, 3)
    yield Case("nan_weight", synapses | {"weight": weight}, rule)


def _synapses(rng: np.random.Generator, post: int, pre: int) -> dict[str, Tensor]:
    return {
        "weight": dense(rng.random((post, pre), dtype=np.float32)),
        "pre_spikes": samples.spikes(rng, pre),
        "post_spikes": samples.spikes(rng, post),
        "pre_trace": dense(rng.random(pre, dtype=np.float32)),
        "post_trace": dense(rng.random(post, dtype=np.float32)),
    }


STDP_UPDATE = OperatorSpec(
    name="stdp_update",
    inputs=(
        Port("weight"),
        Port("pre_spikes"),
        Port("post_spikes"),
        Port("pre_trace"),
        Port("post_trace"),
    ),
    outputs=(Port("weight_next"), Port("pre_trace_next"), Port("post_trace_next")),
    infer=stdp_update_types,
    reference=stdp_update,
    cost=stdp_update_cost,
    cases=stdp_update_cases,
    attributes=(
        Attribute("a_plus", float, None, "weight gained by a pair without delay"),
        Attribute("a_minus", float, None, "weight lost by a pair without delay"),
        Attribute("decay_pre", float, None, "share of a presynaptic trace left after the step"),
        Attribute("decay_post", float, None, "share of a postsynaptic trace left after the step"),
        Attribute("w_min", float, 0.0, "lower bound of a weight"),
        Attribute("w_max", float, 1.0, "upper bound of a weight"),
    ),
    tolerance=Tolerance(rtol=1e-6, atol=1e-6),
    jumps=True,
)
