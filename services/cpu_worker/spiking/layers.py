"""Layers of spiking neurons on the CPU; without compiled kernels the references compute."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.engine import Engine
from services.cpu_worker.held import Held, Packed, Plain
from shared.operators import plastic, recurrent, spike_trains, spiking_layers
from shared.operators.spec import Attributes, Scalar
from shared.spiking import rates
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, I32, U32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

if TYPE_CHECKING:  # numba may be absent; kernels are imported when there are any
    from services.cpu_worker.spiking.recurrent import Wires
    from services.cpu_worker.spiking.running import Synapses

Made = dict[str, Array | Tensor]
# Synapses by the weight and the binary places; they go with the weight.
_NONE: F32 = np.zeros((0, 0), np.float32)  # currents of synapses that do not filter
_KNOWN: "WeakKeyDictionary[Plain, dict[int, Synapses]]" = WeakKeyDictionary()
_WIRED: "WeakKeyDictionary[Packed, dict[int, Wires]]" = WeakKeyDictionary()


def lif_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """By the inputs that spike, or by BLAS where most do; rows are shared among threads."""
    from services.cpu_worker.spiking.running import Run, advance

    n, steps, _ = _shape(inputs["spikes"])
    layer = _layer_of(tuple(attributes.items()))
    synapses = _synapses(inputs["weight"], layer.fraction)
    m = synapses.codes.shape[1]
    bias = _no_bias(m)
    if "bias" in inputs:
        bias = _synapses(inputs["bias"], layer.fraction).codes.reshape(-1)
    run = Run(
        layer,
        words=_words(inputs["spikes"]),
        v=_first(inputs, "v", (n, m), layer.leak),
        i=_NONE if layer.synapse is None else _first(inputs, "i", (n, m), 0.0),
        fired=np.zeros((n, steps, -(-m // 32)), np.uint32),
    )
    if n and m:
        advance(run, synapses, bias, _shape(inputs["spikes"])[2], engine.threads)
    made: Made = {"spikes": _bits(run.fired, (n, steps, m)), "v_next": run.v}
    return made if layer.synapse is None else {**made, "i_next": run.i}


@lru_cache(maxsize=64)
def _layer_of(attributes: tuple[tuple[str, Scalar], ...]) -> Layer:
    """A layer, checked once and not for every call."""
    return spiking_layers.layer_of(dict(attributes))


@lru_cache(maxsize=64)
def _no_bias(neurons: int) -> I32:
    """Zeros (neurons,) that every call may share: kernels only read them."""
    return np.zeros(neurons, np.int32)


@lru_cache(maxsize=64)
def _phases(neurons: int) -> U32:
    return rates.phases(neurons)


def rate_encode(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Even spikes by a compiled kernel, random ones by the definition."""
    x, steps = held.array(inputs["x"]), int(attributes["steps"])  # type: ignore[arg-type]  # its kind
    if attributes["mode"] != "evenly":
        spikes = rates.randomly(x, steps, int(attributes["seed"]))  # type: ignore[arg-type]  # its kind
        return {"spikes": spike_trains.bits(spikes)}
    from services.cpu_worker.simd import compiled
    from services.cpu_worker.sparse import shares
    from services.cpu_worker.spiking import events

    n, k = x.shape
    words: U32 = np.zeros((n, steps, -(-k // 32)), np.uint32)
    flat: F32 = np.ascontiguousarray(x).reshape(-1)
    if n:
        bounds, pair = shares.even(n, min(engine.threads, n)), (events.evenly, events.evenly_shared)
        compiled.run(*pair, bounds, flat, steps, k, _phases(k), words.reshape(-1))
    return {"spikes": _bits(words, (n, steps, k))}


def spike_rate(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Counts only what spikes."""
    from services.cpu_worker.spiking import events

    n, steps, k = _shape(inputs["spikes"])
    y: F32 = np.zeros((n, k), np.float32)
    share = np.float32(1.0) / np.float32(steps)
    events.counted(_words(inputs["spikes"]).reshape(-1), steps, k, share, y.reshape(-1))
    return {"y": y}


def _synapses(weight: Held, fraction: int) -> "Synapses":
    """Whole numbers of a weight (m, k), or of a vector as (1, m); made once."""
    from services.cpu_worker.spiking.running import Synapses

    assert isinstance(weight, Plain)  # the port's layout
    known = _KNOWN.setdefault(weight, {})
    if fraction not in known:
        known[fraction] = Synapses.of(held.array(weight), fraction)
    return known[fraction]


def _first(
    inputs: Mapping[str, Held], port: str, shape: tuple[int, int], otherwise: F32 | float
) -> F32:
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


def plastic_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Work proportional to the spikes that come and go."""
    from services.cpu_worker.spiking import learning

    layer, rule, rivals = plastic.parts_of(attributes)
    given = {port: dense(held.array(value)) for port, value in inputs.items() if port != "spikes"}
    (words,) = _words(inputs["spikes"])
    start, bias = plastic.start(given, layer), plastic.bias_of(given, layer)
    fired, after = learning.run(words, start, bias, layer, rule, rivals)
    _, steps, _ = _shape(inputs["spikes"])
    return {**plastic.results(_bits(fired[np.newaxis], (1, steps, len(after.v))), after)}


def recurrent_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Work proportional to the spikes that come and go; rows are shared among threads."""
    from services.cpu_worker.spiking.recurrent import Run, advance

    n, steps, _ = _shape(inputs["spikes"])
    fraction = int(attributes["fraction"])  # type: ignore[arg-type]  # its kind
    neurons, wires = held.array(inputs["neurons"]), _wires(inputs["recurrent"], fraction)
    m = neurons.shape[1]
    lags, words = held.packed(inputs["recurrent"]).tensor.shape[0] // m, -(-m // 32)
    bias = _no_bias(m)
    if "bias" in inputs:
        bias = _synapses(inputs["bias"], fraction).codes.reshape(-1)
    run = Run(
        _words(inputs["spikes"]),
        codes=_synapses(inputs["weight"], fraction).codes,
        bias=bias,
        neurons=neurons,
        v=_first(inputs, "v", (n, m), neurons[1]),
        i=_first(inputs, "i", (n, m), 0.0),
        past=_words(inputs["past"]) if "past" in inputs else np.zeros((n, lags - 1, words), "u4"),
        fired=np.zeros((n, steps, words), np.uint32),
    )
    unit, subtract = np.float32(2.0**-fraction), attributes["subtract"] is True
    if n:
        ends = recurrent.stages_of(attributes, m)
        advance(run, wires, ends, unit, subtract, engine.threads)
    lately = np.concatenate([run.past, run.fired], axis=1)[:, steps:]
    kept: Made = {"v_next": run.v, "i_next": run.i, "past_next": _bits(lately, (n, lags - 1, m))}
    return {"spikes": _bits(run.fired, (n, steps, m)), **kept}


def _wires(weight: Held, fraction: int) -> "Wires":
    """Whole numbers of the synapses between neurons; made once."""
    from services.cpu_worker.spiking.recurrent import Wires

    packed = held.packed(weight)
    known = _WIRED.setdefault(packed, {})
    if fraction not in known:
        known[fraction] = Wires.of(packed.tensor, fraction)
    return known[fraction]


OPERATORS = {
    "lif_layer": lif_layer,
    "cuba_layer": lif_layer,
    "recurrent_layer": recurrent_layer,
    "plastic_layer": plastic_layer,
    "rate_encode": rate_encode,
    "spike_rate": spike_rate,
}
