"""What the kernels of spiking layers must answer before they are used: the references' spikes."""

import numpy as np

from services.cpu_worker.spiking import learning, recurrent, running
from services.cpu_worker.spiking.running import Run, Synapses, by_blas, by_events
from shared.operators import recurrent as definition
from shared.operators import recurrent_cases, spike_trains
from shared.operators.spec import Attributes
from shared.spiking import layers, plastic, rates
from shared.spiking.layers import Layer, Ran
from shared.spiking.plastic import Competition, Rule, State
from shared.tensors import packing
from shared.tensors.dtypes import F32, U8, U32
from shared.tensors.layouts import dense

ROWS, STEPS, INPUTS, OUTPUTS = 3, 9, 70, 37  # no multiples of what kernels take at a time


def verify(threads: int) -> None:
    """Compile every kernel, or bring it from the cache, and compare it with its definition.

    Raises:
        RuntimeError: a kernel's spikes are not the reference's.
    """
    rng = np.random.default_rng(7)
    x: F32 = rng.random((ROWS, INPUTS), dtype=np.float32)
    spikes = rates.evenly(x, STEPS)
    words = running.encoded(x.reshape(-1), (ROWS, STEPS, INPUTS), threads)
    _require(np.array_equal(words, packing.join_spikes(spikes).reshape(-1)), "rate_encode")
    y: F32 = np.zeros((ROWS, INPUTS), np.float32)
    running.counted(words, STEPS, INPUTS, y.reshape(-1))
    _require(np.array_equal(y, _rate(spikes)), "spike_rate")
    for layer in (
        Layer(0.9, threshold=0.5),
        Layer(1.0, threshold=0.5, subtract=True),
        Layer(0.9, threshold=0.5, synapse=0.75, couple=0.5, direct=0.25),
    ):
        for scale in (0.1, 100.0):
            weight = rng.standard_normal((OUTPUTS, INPUTS), dtype=np.float32) * np.float32(scale)
            _layer(weight, x, layer, threads)
    _learning(rng, spikes, words.reshape(ROWS, STEPS, -1))
    for fraction in (12, 20):  # codes that fit in 16 bits, and that do not
        _recurrent(spikes, words.reshape(ROWS, STEPS, -1), fraction, threads)


def _layer(weight: F32, x: F32, layer: Layer, threads: int) -> None:
    """By events and by BLAS, from spikes to spikes and from numbers to rates."""
    spikes = rates.evenly(x, STEPS)
    synapses, bias = Synapses.of(weight, layer.fraction), running.bias_of(weight[:, 0], 16)
    total = layers.sums(spikes, synapses.codes.T, bias[:OUTPUTS])
    wanted = layers.run(total, np.zeros((ROWS, OUTPUTS), np.float32), layer)
    words = packing.join_spikes(spikes).reshape(-1)
    for way in (by_events, by_blas):
        run = _run(layer)._replace(words=words, fired=np.zeros_like(_fired(wanted)))
        way(run, synapses, bias, threads)
        right = np.array_equal(run.fired, _fired(wanted))
        _require(_ends(run, wanted) and right, "lif_layer")
        run = _run(layer)._replace(x=x.reshape(-1), rate=np.zeros(ROWS * OUTPUTS, np.float32))
        way(run, synapses, bias, threads)
        right = np.array_equal(run.rate, _rate(wanted.spikes).reshape(-1))
        _require(_ends(run, wanted) and right, "a chain of spikes")


def _run(layer: Layer) -> Run:
    """A call that begins at rest."""
    start: F32 = np.zeros(ROWS * OUTPUTS, np.float32)
    filtered = layer.synapse is not None
    currents = np.zeros_like(start) if filtered else running.NO_NUMBERS
    return Run(layer, (ROWS, STEPS, INPUTS, OUTPUTS), v=start, i=currents)


def _ends(run: Run, wanted: Ran) -> bool:
    """Whether potentials, and currents where there are any, end as they should."""
    right = np.array_equal(run.v, wanted.v.reshape(-1))
    return right and (not run.i.size or np.array_equal(run.i, wanted.i.reshape(-1)))


def _fired(wanted: Ran) -> U32:
    return packing.join_spikes(wanted.spikes).reshape(-1)


def _rate(spikes: U8) -> F32:
    count: F32 = spikes.sum(axis=1, dtype=np.int64).astype(np.float32)
    return count * (np.float32(1.0) / np.float32(STEPS))


def _learning(rng: np.random.Generator, spikes: U8, words: U32) -> None:
    """A layer that competes and learns."""
    weight: F32 = rng.random((OUTPUTS, INPUTS), dtype=np.float32)
    none, nothing = np.zeros(OUTPUTS, np.float32), np.zeros(INPUTS, np.float32)
    state = State(weight, none, none, nothing, none)
    rule = Rule(a_plus=0.1, a_minus=0.05, decay_pre=0.9, decay_post=0.8, offset=0.2)
    given = (state, None, Layer(0.9, threshold=0.5), rule, Competition(0.1, 0.9, 0.5, alone=True))
    fired, after = plastic.run(spikes[0], *given)
    made, found = learning.run(words[0], *given)
    right = np.array_equal(made, packing.join_spikes(fired))
    right = right and all(map(np.array_equal, found, after))
    _require(right, "plastic_layer")


def _recurrent(spikes: U8, words: U32, fraction: int, threads: int) -> None:
    """A population of two stages with lags."""
    rng = np.random.default_rng(7)
    weight: F32 = rng.standard_normal((OUTPUTS, INPUTS), dtype=np.float32) * np.float32(0.1)
    given = {"spikes": spike_trains.bits(spikes), "weight": dense(weight)}
    given["recurrent"] = recurrent_cases.synapses(rng, OUTPUTS, 3)
    given["neurons"] = recurrent_cases.neurons(rng, OUTPUTS)
    told: Attributes = {"stages": (20, OUTPUTS - 20), "subtract": False, "fraction": fraction}
    wanted = definition.recurrent_layer(given, told)
    neurons: F32 = given["neurons"].values.view(np.float32)
    run = recurrent.Run(
        words,
        codes=Synapses.of(weight, fraction).codes,
        bias=np.zeros(OUTPUTS, np.int32),
        neurons=neurons,
        v=np.tile(neurons[1], ROWS),
        i=np.zeros(ROWS * OUTPUTS, np.float32),
        past=np.zeros((ROWS, 2, -(-OUTPUTS // 32)), np.uint32),
        fired=np.zeros((ROWS, STEPS, -(-OUTPUTS // 32)), np.uint32),
    )
    wires, unit = recurrent.Wires.of(given["recurrent"], fraction), np.float32(2.0**-fraction)
    recurrent.advance(run, wires, (20, OUTPUTS), unit, False, threads)
    right = np.array_equal(run.fired, wanted["spikes"].values)
    right = right and np.array_equal(run.v, wanted["v_next"].values.reshape(-1))
    right = right and np.array_equal(run.i, wanted["i_next"].values.reshape(-1))
    _require(right, "recurrent_layer")


def _require(right: bool, name: str) -> None:
    if not right:
        raise RuntimeError(f"the kernel of {name} does not make the spikes that it should")
