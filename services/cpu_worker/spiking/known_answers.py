"""What the kernels of spiking layers must answer before they are used: the references' spikes."""

import numpy as np

from services.cpu_worker.simd import compiled
from services.cpu_worker.sparse import shares
from services.cpu_worker.spiking import events
from services.cpu_worker.spiking.layers import neuron_of
from shared.spiking import layers, rates
from shared.spiking.layers import Layer
from shared.tensors import packing
from shared.tensors.dtypes import F32, U8, U32

ROWS, STEPS, INPUTS, OUTPUTS = 3, 9, 70, 37  # no multiples of what kernels take at a time


def verify(threads: int) -> None:
    """Compile every kernel, or bring it from the cache, and compare it with its definition.

    Raises:
        RuntimeError: a kernel's spikes are not the reference's.
    """
    rng = np.random.default_rng(7)
    x: F32 = rng.random((ROWS, INPUTS), dtype=np.float32)
    spikes = rates.evenly(x, STEPS)
    words: U32 = np.zeros((ROWS, STEPS, -(-INPUTS // 32)), np.uint32)
    events.evenly(x.reshape(-1), STEPS, INPUTS, rates.phases(INPUTS), words.reshape(-1))
    _require(np.array_equal(words, packing.join_spikes(spikes)), "rate_encode")
    y: F32 = np.zeros((ROWS, INPUTS), np.float32)
    events.counted(words.reshape(-1), STEPS, INPUTS, np.float32(1), y.reshape(-1))
    _require(np.array_equal(y, spikes.sum(axis=1)), "spike_rate")
    for layer in (
        Layer(0.9, threshold=0.5),
        Layer(1.0, threshold=0.5, subtract=True),
        Layer(0.9, threshold=0.5, synapse=0.75, couple=0.5, direct=0.25),
    ):
        _layer(rng, spikes, words, layer, threads)


def _layer(rng: np.random.Generator, spikes: U8, words: U32, layer: Layer, threads: int) -> None:
    weight: F32 = rng.standard_normal((OUTPUTS, INPUTS), dtype=np.float32) * np.float32(0.1)
    codes = layers.codes(weight, layer.fraction)
    bias = layers.codes(weight[:, 0], layer.fraction)
    start: F32 = np.zeros((ROWS, OUTPUTS), np.float32)
    current = np.zeros_like(start)
    wanted, last, left, _ = layers.run(layers.sums(spikes, codes, bias), start, layer, current)
    fired: U32 = np.zeros((ROWS, STEPS, -(-OUTPUTS // 32)), np.uint32)
    synapses, carried = np.ascontiguousarray(codes.T), (start.reshape(-1), current.reshape(-1))
    arrays = (words.reshape(-1), synapses.reshape(-1), bias, *carried, fired.reshape(-1))
    sizes = (STEPS, words.shape[2], OUTPUTS)
    neuron = neuron_of(layer)
    bounds = shares.even(ROWS, min(threads, ROWS))
    compiled.run(events.layer, events.layer_shared, bounds, sizes, arrays, neuron)
    _require(np.array_equal(fired, packing.join_spikes(wanted)), "lif_layer")
    _require(np.array_equal(start, last) and np.array_equal(current, left), "lif_layer")


def _require(right: bool, name: str) -> None:
    if not right:
        raise RuntimeError(f"the kernel of {name} does not make the spikes that it should")
