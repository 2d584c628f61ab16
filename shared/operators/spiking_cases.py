"""Calls that every backend must answer like the references of `spiking_layers`, spike for spike."""

from collections.abc import Iterator

import numpy as np

from shared.operators import samples
from shared.operators.spec import Attributes, Case
from shared.tensors import packing
from shared.tensors.dtypes import U8, Dtype
from shared.tensors.layouts import Layout, Tensor

Rng = np.random.Generator


def lif_layer(rng: Rng) -> Iterator[Case]:
    """Sizes around words and tiles, each reset, potentials carried over, silence and noise."""
    for name, n, steps, k, m in (
        ("one_neuron", 1, 5, 1, 1),
        ("one_row", 1, 20, 64, 32),
        ("odd_sizes", 3, 7, 37, 19),
        ("beyond_a_group", 2, 9, 70, 300),
        ("empty_batch", 0, 4, 8, 8),
        ("no_inputs", 2, 3, 0, 5),
    ):
        inputs = {"spikes": train(rng, n, steps, k), "weight": samples.weight(rng, m, k)}
        yield Case(name, inputs, {"decay": 0.9, "threshold": 0.5})
        more = inputs | {"bias": samples.normal(rng, m, scale=0.1)}
        more |= {"v": samples.normal(rng, n, m, scale=0.3)}
        yield Case(f"{name}_subtract", more, {"decay": 1.0, "threshold": 0.4, "subtract": True})
        every: Attributes = {"decay": 0.75, "leak": -0.2, "threshold": 0.3, "reset": -0.4}
        yield Case(f"{name}_every_parameter", more, {**every, "fraction": 12})
    yield from _edges(rng)


def cuba_layer(rng: Rng) -> Iterator[Case]:
    """As `lif_layer`, with currents that are carried over."""
    filtered: Attributes = {"synapse": 0.75, "couple": 0.5, "direct": 0.25}
    for name, n, steps, k, m in (
        ("one_neuron", 1, 5, 1, 1),
        ("one_row", 1, 20, 64, 32),
        ("odd_sizes", 3, 7, 37, 19),
        ("beyond_a_group", 2, 9, 70, 300),
        ("empty_batch", 0, 4, 8, 8),
    ):
        inputs = {"spikes": train(rng, n, steps, k), "weight": samples.weight(rng, m, k)}
        yield Case(name, inputs, {"decay": 0.9, "threshold": 0.5, **filtered})
        more = inputs | {"bias": samples.normal(rng, m, scale=0.1)}
        more |= {port: samples.normal(rng, n, m, scale=0.3) for port in ("v", "i")}
        every: Attributes = {"decay": 0.8, "leak": -0.2, "threshold": 0.4, "subtract": True}
        yield Case(f"{name}_carried_over", more, {**every, **filtered})


def _edges(rng: Rng) -> Iterator[Case]:
    weight = samples.weight(rng, 20, 40)
    silent = {"spikes": train(rng, 2, 6, 40, share=0.0), "weight": weight}
    yield Case("silence", silent, {"decay": 0.5})
    busy = {"spikes": train(rng, 2, 6, 40, share=1.0), "weight": weight}
    yield Case("every_input_spikes", busy, {"decay": 0.5, "threshold": 0.1})
    yield Case("no_neuron_spikes", busy, {"decay": 0.9, "threshold": float("inf")})
    # 0.5 + 0.5 is at the threshold and no spike; a step of 2^-16 more is one
    edge = samples.f32([[0.5], [0.5 + 2.0**-16]])
    twice = {"spikes": bits(np.ones((1, 2, 1), np.uint8)), "weight": edge}
    yield Case("exactly_at_threshold", twice, {"decay": 1.0})


def rate_encode(rng: Rng) -> Iterator[Case]:
    """Both ends, beyond them, and what is no number."""
    wild = samples.f32([[0.0, 1.0, 0.5, -1.0, 2.0, np.nan, np.inf, 2.0**-24, 1 - 2.0**-24]])
    for mode in ("evenly", "randomly"):
        for name, n, steps, k in (
            ("one_row", 1, 50, 64),
            ("odd_sizes", 3, 33, 37),
            ("empty", 0, 4, 5),
        ):
            x = samples.f32(rng.random((n, k)).astype(np.float32))
            yield Case(f"{name}_{mode}", {"x": x}, {"steps": steps, "mode": mode, "seed": 7})
        yield Case(f"wild_{mode}", {"x": wild}, {"steps": 40, "mode": mode})


def spike_pack(rng: Rng) -> Iterator[Case]:
    """Sizes around words, both sides of a half, and what is no number."""
    for name, n, steps, k in (("one_bit", 1, 1, 1), ("odd_sizes", 3, 7, 37), ("words", 2, 5, 96)):
        yield Case(name, {"x": samples.spikes(rng, n, steps, k)})
    edge = samples.f32(np.array([[[0.5, 0.50001, np.nan, np.inf, -np.inf, -1.0, 2.0]]]))
    yield Case("edges", {"x": edge})
    yield Case("empty_batch", {"x": samples.zeros(0, 3, 5)})


def spike_join(rng: Rng) -> Iterator[Case]:
    """Sizes around words on both sides, and a side without neurons."""
    for name, n, steps, k, m in (
        ("one_bit_each", 1, 1, 1, 1),
        ("odd_sizes", 3, 7, 37, 19),
        ("within_a_word", 2, 5, 3, 5),
        ("words", 2, 5, 96, 64),
        ("over_words", 2, 4, 33, 100),
        ("nothing_first", 2, 3, 0, 40),
        ("nothing_second", 2, 3, 40, 0),
        ("empty_batch", 0, 3, 5, 7),
    ):
        yield Case(name, {"a": train(rng, n, steps, k), "b": train(rng, n, steps, m)})


def spike_rate(rng: Rng) -> Iterator[Case]:
    """Sizes around words."""
    for name, n, steps, k in (("one_bit", 1, 1, 1), ("odd_sizes", 3, 7, 37), ("words", 2, 40, 96)):
        yield Case(name, {"spikes": train(rng, n, steps, k)})
    yield Case("empty_batch", {"spikes": train(rng, 0, 3, 5)})


def train(rng: Rng, n: int, steps: int, k: int, share: float = 0.3) -> Tensor:
    """Random spikes."""
    return bits((rng.random((n, steps, k)) < share).astype(np.uint8))


def bits(spikes: U8) -> Tensor:
    """Spikes as bits."""
    words = packing.join_spikes(spikes)
    return Tensor(Layout.SPIKE_BITS, Dtype.F32, spikes.shape, {"words": words})
