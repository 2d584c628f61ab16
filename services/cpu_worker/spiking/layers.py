"""Layers of spiking neurons on the CPU; without compiled kernels the references compute."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.engine import Engine
from services.cpu_worker.held import Held, Plain
from shared.operators import plastic, recurrent, spike_trains, spiking_layers
from shared.operators.attributes import whole
from shared.operators.spec import Attributes, Scalar
from shared.spiking import rates
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, I32, U32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

if TYPE_CHECKING:  # numba may be absent; kernels are imported when there are any
    from services.cpu_worker.spiking.recurrent import Wires
    from services.cpu_worker.spiking.running import Synapses

Made = dict[str, Array | Tensor]


def lif_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """By the inputs that spike, or by BLAS where most do; rows are shared among threads."""
    from services.cpu_worker.spiking.running import NO_NUMBERS, Run, advance

    (n, steps, k), layer = shape_of(inputs["spikes"]), layer_of(tuple(attributes.items()))
    synapses = synapses_of(inputs["weight"], layer.fraction)
    m = synapses.codes.shape[1]
    filtered = layer.synapse is not None
    run = Run(
        layer,
        (n, steps, k, m),
        v=first(inputs.get("v"), n * m, layer.leak),
        i=first(inputs.get("i"), n * m, 0.0) if filtered else NO_NUMBERS,
        words=words_of(inputs["spikes"]),
        fired=np.empty(n * steps * -(-m // 32), np.uint32),
    )
    if n and m:
        advance(run, synapses, bias_of(inputs.get("bias"), m, layer.fraction), engine.threads)
    made: Made = {"spikes": bits(run.fired, (n, steps, m)), "v_next": run.v.reshape(n, m)}
    return {**made, "i_next": run.i.reshape(n, m)} if filtered else made


@lru_cache(maxsize=64)
def layer_of(attributes: tuple[tuple[str, Scalar], ...]) -> Layer:
    """A layer, checked once and not for every call."""
    return spiking_layers.layer_of(dict(attributes))


def rate_encode(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Even spikes by a compiled kernel, random ones by the definition."""
    x, steps = held.array(inputs["x"]), whole(attributes, "steps")
    if attributes["mode"] != "evenly":
        spikes = rates.randomly(x, steps, whole(attributes, "seed"))
        return {"spikes": spike_trains.bits(spikes)}
    from services.cpu_worker.spiking import running

    n, k = x.shape
    words = running.encoded(flat(x), (n, steps, k), engine.threads) if n else running.NO_WORDS
    return {"spikes": bits(words, (n, steps, k))}


def spike_rate(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Counts only what spikes."""
    from services.cpu_worker.spiking import running

    n, steps, k = shape_of(inputs["spikes"])
    y: F32 = np.zeros((n, k), np.float32)
    running.counted(words_of(inputs["spikes"]), steps, k, y.reshape(-1))
    return {"y": y}


def synapses_of(weight: Held, fraction: int) -> "Synapses":
    """Whole numbers of a weight (m, k); made once."""
    assert isinstance(weight, Plain)  # the port's layout
    if (known := weight.whole.get(fraction)) is None:
        from services.cpu_worker.spiking.running import Synapses

        known = weight.whole[fraction] = Synapses.of(held.array(weight), fraction)
    made: Synapses = known
    return made


def bias_of(bias: Held | None, neurons: int, fraction: int) -> I32:
    """Whole numbers of a bias, made once, up to whole words; zeros where there is none."""
    from services.cpu_worker.spiking import running

    if bias is None:
        return running.no_bias(neurons)
    assert isinstance(bias, Plain)  # the port's layout
    if fraction not in bias.whole:
        bias.whole[fraction] = running.bias_of(held.array(bias), fraction)
    made: I32 = bias.whole[fraction]
    return made


def first(given: Held | None, count: int, otherwise: float) -> F32:
    """Potentials or currents (count,) before the first step, in an array of the caller's."""
    if given is None:
        return np.full(count, otherwise, np.float32)
    return np.array(flat(held.array(given)))


def flat(array: F32) -> F32:
    """An array as one line, row by row."""
    return np.ascontiguousarray(array).reshape(-1)


def shape_of(spikes: Held) -> tuple[int, int, int]:
    """Rows, steps and neurons."""
    n, steps, k = held.packed(spikes).tensor.shape
    return n, steps, k


def words_of(spikes: Held) -> U32:
    """All words of spikes as one line."""
    words = np.ascontiguousarray(held.packed(spikes).tensor.parts["words"])
    return words.view(np.uint32).reshape(-1)


def bits(words: U32, shape: tuple[int, int, int]) -> Tensor:
    """Words as a tensor of spikes."""
    n, steps, neurons = shape
    held_words = words.reshape(n, steps, -(-neurons // 32))
    return Tensor(Layout.SPIKE_BITS, Dtype.F32, shape, {"words": held_words})


def plastic_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Work proportional to the spikes that come and go."""
    from services.cpu_worker.spiking import learning

    layer, rule, rivals = plastic.parts_of(attributes)
    given = {port: dense(held.array(value)) for port, value in inputs.items() if port != "spikes"}
    _, steps, _ = shape_of(inputs["spikes"])
    words = words_of(inputs["spikes"]).reshape(steps, -1)
    start, bias = plastic.start(given, layer), plastic.bias_of(given, layer)
    fired, after = learning.run(words, start, bias, layer, rule, rivals)
    return {**plastic.results(bits(fired, (1, steps, len(after.v))), after)}


def recurrent_layer(engine: Engine, inputs: Mapping[str, Held], attributes: Attributes) -> Made:
    """Work proportional to the spikes that come and go; rows are shared among threads."""
    from services.cpu_worker.spiking.recurrent import Run, advance

    (n, steps, k), fraction = shape_of(inputs["spikes"]), whole(attributes, "fraction")
    neurons, wires = held.array(inputs["neurons"]), wires_of(inputs["recurrent"], fraction)
    m, past = neurons.shape[1], inputs.get("past")
    lags, words = held.packed(inputs["recurrent"]).tensor.shape[0] // m, -(-m // 32)
    lately = (n, lags - 1, words)
    run = Run(
        words_of(inputs["spikes"]).reshape(n, steps, -(-k // 32)),
        codes=synapses_of(inputs["weight"], fraction).codes,
        bias=bias_of(inputs.get("bias"), m, fraction)[:m],
        neurons=neurons,
        v=first(inputs.get("v"), n * m, 0.0) if "v" in inputs else np.tile(neurons[1], n),
        i=first(inputs.get("i"), n * m, 0.0),
        past=np.zeros(lately, np.uint32) if past is None else words_of(past).reshape(lately),
        fired=np.zeros((n, steps, words), np.uint32),
    )
    unit, subtract = np.float32(2.0**-fraction), attributes["subtract"] is True
    if n:
        ends = recurrent.stages_of(attributes, m)
        advance(run, wires, ends, unit, subtract, engine.threads)
    after = np.concatenate([run.past, run.fired], axis=1)[:, steps:]
    kept: Made = {"v_next": run.v.reshape(n, m), "i_next": run.i.reshape(n, m)}
    kept["past_next"] = bits(after, (n, lags - 1, m))
    return {"spikes": bits(run.fired, (n, steps, m)), **kept}


def wires_of(weight: Held, fraction: int) -> "Wires":
    """Whole numbers of the synapses between neurons; made once."""
    from services.cpu_worker.spiking.recurrent import Wires

    packed = held.packed(weight)
    if fraction not in packed.whole:
        packed.whole[fraction] = Wires.of(packed.tensor, fraction)
    made: Wires = packed.whole[fraction]
    return made


OPERATORS = {
    "lif_layer": lif_layer,
    "cuba_layer": lif_layer,
    "recurrent_layer": recurrent_layer,
    "plastic_layer": plastic_layer,
    "rate_encode": rate_encode,
    "spike_rate": spike_rate,
}
