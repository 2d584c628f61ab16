"""The compiled kernel of `plastic_layer`; see shared.spiking.plastic for the rules.

Weights lie input by input, so that sums and what inputs unlearn go along memory; only rows of
neurons that fire, and columns of inputs that spike, are touched.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.compiled import kernel
from services.cpu_worker.spiking.events import added, listed, packed
from shared.spiking import layers
from shared.spiking.layers import Layer
from shared.spiking.plastic import Competition, Rule, State
from shared.tensors.dtypes import F32, I32, U32

MOST = np.float64(layers.MOST)


@kernel
def _code(weight: Any, scale: Any) -> Any:
    """A weight as a whole number, saturated; NaN counts as 0."""
    scaled = np.rint(np.float64(weight) * scale)
    if scaled != scaled:
        return np.int32(0)
    return np.int32(min(max(scaled, -MOST - 1.0), MOST))


@kernel
def _fire(total: Any, state: Any, neuron: Any, rivals: Any, flags: Any) -> bool:
    """One step of all membranes; whether any fires."""
    v, theta = state
    decay, leak, threshold, reset, unit = neuron
    theta_plus, theta_decay, inhibition, alone = rivals
    best, largest = -1, np.float32(0.0)
    for j in range(v.size):
        u = (leak + decay * (v[j] - leak)) + np.float32(total[j]) * unit
        margin = u - (threshold + theta[j])
        v[j], flags[j] = u, margin > 0
        if margin > largest:
            best, largest = j, margin
    for j in range(v.size):
        if alone:
            flags[j] = j == best
        theta[j] = theta_decay * theta[j]
        if flags[j]:
            v[j] = reset
            theta[j] = theta[j] + theta_plus
        elif best >= 0:
            v[j] = v[j] - inhibition
    return best >= 0


@kernel
def _strengthen(synapses: Any, flags: Any, m: int, pre: Any, rule: Any) -> None:
    """All synapses of neurons that fire."""
    weight, codes, scale = synapses
    a_plus, _, offset, low, high = rule
    for j in range(m):
        if flags[j]:
            for i in range(pre.size):
                at = i * m + j
                made = weight[at] + a_plus * (pre[i] - offset)
                weight[at] = low if made < low else (high if made > high else made)
                codes[at] = _code(weight[at], scale)


@kernel
def _weaken(synapses: Any, active: Any, size: int, post: Any, rule: Any) -> None:
    """All synapses of inputs that spike."""
    weight, codes, scale = synapses
    _, a_minus, _, low, high = rule
    m = post.size
    for place in range(size):
        first = active[place] * m
        for j in range(m):
            made = weight[first + j] - a_minus * post[j]
            weight[first + j] = low if made < low else (high if made > high else made)
            codes[first + j] = _code(weight[first + j], scale)


@kernel
def _mark(trace: Any, at: int, nearest: bool) -> None:
    """A spike leaves its mark."""
    trace[at] = np.float32(1.0) if nearest else trace[at] + np.float32(1.0)


@kernel
def plastic(sizes: Any, arrays: Any, neuron: Any, rivals: Any, rule: Any, traces: Any) -> None:
    """All steps of one stream.

    Args:
        sizes: (steps, words of a step's inputs).
        arrays: (words, weight, codes, bias, v, theta, pre, post, fired): spikes as words; (k * m,)
            float32 and int32, input by input; (m,) int32; (m,), (m,), (k,), (m,) float32; all but
            the first and the bias are written.
        neuron: (decay, leak, threshold, reset, potential per unit of a code) float32.
        rivals: (theta_plus, theta_decay, inhibition) float32, and whether one fires alone.
        rule: (a_plus, a_minus, offset, w_min, w_max) float32.
        traces: (decay_pre, decay_post) float32, whether only nearest pairs count, and codes per
            unit of a weight, float64.
    """
    steps, width = sizes
    words, weight, codes, bias, v, theta, pre, post, fired = arrays
    decay_pre, decay_post, nearest, scale = traces
    made = (v.size + 31) // 32
    active, total = np.empty(32 * width, np.int64), np.empty(v.size, np.int32)
    eights = np.zeros(4 * made, np.uint64)
    flags = eights.view(np.uint8)
    synapses = (weight, codes, scale)
    for step in range(steps):
        total[:] = bias
        size = listed(words, step * width, width, active)
        added(codes, active, size, total)
        any_fires = _fire(total, (v, theta), neuron, rivals, flags)
        for i in range(pre.size):
            pre[i] = decay_pre * pre[i]
        for j in range(post.size):
            post[j] = decay_post * post[j]
        if any_fires and rule[0] != 0:
            _strengthen(synapses, flags, v.size, pre, rule)
        if rule[1] != 0:
            _weaken(synapses, active, size, post, rule)
        for place in range(size):
            _mark(pre, active[place], nearest)
        for j in range(v.size):
            if flags[j]:
                _mark(post, j, nearest)
        packed(eights, fired, step * made, made)


def run(
    words: U32, state: State, bias: I32 | None, layer: Layer, rule: Rule, rivals: Competition
) -> tuple[U32, State]:
    """Many steps; see `shared.spiking.plastic.run`, but spikes are words, (steps, words)."""
    m = len(state.weight)
    weight: F32 = np.array(state.weight.T, order="C")
    codes = layers.codes(weight, layer.fraction)
    fired: U32 = np.zeros((len(words), -(-m // 32)), np.uint32)
    v, theta, pre, post = (np.array(kept) for kept in state[1:])
    held = np.zeros(m, np.int32) if bias is None else bias
    flat = (words, weight, codes, held, v, theta, pre, post, fired)
    plastic(
        words.shape,
        tuple(array.reshape(-1) for array in flat),
        _f32(layer.decay, layer.leak, layer.threshold, layer.reset, 2.0**-layer.fraction),
        (*_f32(rivals.theta_plus, rivals.theta_decay, rivals.inhibition), rivals.alone),
        _f32(rule.a_plus, rule.a_minus, rule.offset, rule.w_min, rule.w_max),
        (*_f32(rule.decay_pre, rule.decay_post), rule.nearest, 2.0**layer.fraction),
    )
    return fired, State(np.array(weight.T, order="C"), v, theta, pre, post)


def _f32(*values: float) -> tuple[np.float32, ...]:
    return tuple(map(np.float32, values))
