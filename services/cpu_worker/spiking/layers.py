"""Layers of spiking neurons on the CPU; without compiled kernels the references compute."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.engine import Engine
from services.cpu_worker.held import Held, Plain
from services.cpu_worker.sparse import shares
from shared.operators import spiking_layers
from shared.operators.spec import Attributes
from shared.spiking import layers, rates
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, I32, U32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor

Made = dict[str, Array | Tensor]
# Codes of weights, by the weight and the binary places; they go with the weight.
_CODES: WeakKeyDictionary[Plain, dict[int, I32]] = WeakKeyDictionary()


def lif_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Work proportional to spikes; rows are shared among threads."""
    from services.cpu_worker.simd import compiled  # late: numba may be absent
    from services.cpu_worker.spiking import events

    n, steps, _ = _shape(inputs["spikes"])
    layer, weight = spiking_layers.layer_of(attributes), inputs["weight"]
    codes = _codes(weight, layer.fraction)
    m = codes.shape[1]
    bias = np.zeros(m, np.int32)
    if "bias" in inputs:
        bias = _codes(inputs["bias"], layer.fraction).reshape(-1)
    v = _first(inputs, "v", (n, m), layer.leak)
    i = _first(inputs, "i", (n, m), 0.0)
    fired: U32 = np.zeros((n, steps, -(-m // 32)), np.uint32)
    words = _words(inputs["spikes"])
    flat = (codes.reshape(-1), bias, v.reshape(-1), i.reshape(-1), fired.reshape(-1))
    if n and m:
        bounds = shares.even(n, min(engine.threads, n))
        sizes, arrays = (steps, words.shape[2], m), (words.reshape(-1), *flat)
        compiled.run(events.layer, events.layer_shared, bounds, sizes, arrays, neuron_of(layer))
    made: Made = {"spikes": _bits(fired, (n, steps, m)), "v_next": v}
    return made if layer.synapse is None else {**made, "i_next": i}


def neuron_of(layer: Layer) -> tuple[Any, ...]:
    """A layer as the kernels take it."""
    numbers = (layer.decay, layer.leak, layer.threshold, layer.reset, 2.0**-layer.fraction)
    filters = (layer.synapse or 0.0, layer.couple, layer.direct)
    filtered = layer.synapse is not None
    return (*map(np.float32, numbers), layer.subtract, filtered, *map(np.float32, filters))


def rate_encode(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Even spikes by a compiled kernel, random ones by the definition."""
    x, steps = held.array(inputs["x"]), int(attributes["steps"])  # type: ignore[arg-type]  # its kind
    if attributes["mode"] != "evenly":
        spikes = rates.randomly(x, steps, int(attributes["seed"]))  # type: ignore[arg-type]  # its kind
        return {"spikes": spiking_layers.bits(spikes)}
    from services.cpu_worker.spiking import events

    n, k = x.shape
    words: U32 = np.zeros((n, steps, -(-k // 32)), np.uint32)
    flat: F32 = np.ascontiguousarray(x).reshape(-1)
    events.evenly(flat, steps, k, rates.phases(k), words.reshape(-1))
    return {"spikes": _bits(words, (n, steps, k))}


def spike_rate(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Counts only what spikes."""
    from services.cpu_worker.spiking import events

    n, steps, k = _shape(inputs["spikes"])
    y: F32 = np.zeros((n, k), np.float32)
    share = np.float32(1.0) / np.float32(steps)
    events.counted(_words(inputs["spikes"]).reshape(-1), steps, k, share, y.reshape(-1))
    return {"y": y}


def _codes(weight: Held, fraction: int) -> I32:
    """(k, m) whole numbers of a weight (m, k), or (1, m) of a vector; made once."""
    assert isinstance(weight, Plain)  # the port's layout
    known = _CODES.setdefault(weight, {})
    if fraction not in known:
        made = layers.codes(held.array(weight), fraction)
        known[fraction] = np.ascontiguousarray(np.atleast_2d(made.T))
    return known[fraction]


def _first(inputs: Mapping[str, Held], port: str, shape: tuple[int, int], otherwise: float) -> F32:
    """Potentials or currents before the first step, in an array of the caller's."""
    if port in inputs:
        return np.array(held.array(inputs[port]), dtype=np.float32, order="C")
    return np.full(shape, otherwise, np.float32)


def _shape(spikes: Held) -> tuple[int, int, int]:
    n, steps, k = held.packed(spikes).tensor.shape
    return n, steps, k


def _words(spikes: Held) -> U32:
    words: U32 = np.ascontiguousarray(held.packed(spikes).tensor.parts["words"]).view(np.uint32)
    return words


def _bits(words: U32, shape: tuple[int, int, int]) -> Tensor:
    return Tensor(Layout.SPIKE_BITS, Dtype.F32, shape, {"words": words})


OPERATORS = {
    "lif_layer": lif_layer,
    "cuba_layer": lif_layer,
    "rate_encode": rate_encode,
    "spike_rate": spike_rate,
}
