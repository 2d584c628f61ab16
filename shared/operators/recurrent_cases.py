"""Calls that every backend must answer like the reference of `recurrent`, spike for spike."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from shared.operators import samples
from shared.operators.spec import Case, Scalar
from shared.operators.spiking_cases import Rng, bits, train
from shared.sparse import convert
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor


def recurrent_layer(rng: Rng) -> Iterator[Case]:
    """Sizes around words and groups, short and long lags, stages, neurons that do not connect."""
    for name, n, steps, k, stages, lags in (
        ("one_neuron", 1, 6, 1, (1,), 2),
        ("one_row", 1, 20, 64, (32,), 2),
        ("odd_sizes", 3, 7, 37, (19,), 4),
        ("two_stages", 2, 12, 20, (17, 30), 2),
        ("three_stages_and_lags", 2, 12, 20, (40, 3, 22), 6),
        ("beyond_a_group", 2, 9, 70, (300,), 3),
        ("lags_beyond_steps", 1, 3, 9, (21,), 8),
        ("empty_batch", 0, 4, 8, (8,), 2),
    ):
        m = sum(stages)
        inputs = {
            "spikes": train(rng, n, steps, k),
            "weight": samples.weight(rng, m, k),
            "recurrent": synapses(rng, m, lags),
            "neurons": neurons(rng, m),
        }
        made: dict[str, Scalar] = {"stages": stages}
        yield Case(name, inputs, made)
        more = inputs | {"bias": samples.normal(rng, m, scale=0.1)}
        more |= {port: samples.normal(rng, n, m, scale=0.3) for port in ("v", "i")}
        more |= {"past": train(rng, n, lags - 1, m)}
        yield Case(f"{name}_carried_over", more, {**made, "subtract": True, "fraction": 12})
    alone = samples.f32(np.zeros((2 * 5, 5)))
    apart = {**inputs, "spikes": train(rng, 2, 9, 8), "weight": samples.weight(rng, 5, 8)}
    apart |= {"recurrent": convert.to_layout(alone, Layout.CSR), "neurons": neurons(rng, 5)}
    yield Case("no_synapses", apart)
    yield Case("one_lights_the_next", _chain(), {"stages": (1, 1, 1)})


def synapses(rng: Rng, m: int, lags: int, share: float = 0.3) -> Tensor:
    """Random ones of every lag (lags m, m) as CSR, those without a lag included."""
    weight = rng.normal(0.0, 0.4, (lags * m, m)) * (rng.random((lags * m, m)) < share)
    return convert.to_layout(samples.f32(weight), Layout.CSR)


def neurons(rng: Rng, m: int) -> Tensor:
    """Constants (7, m), of neurons that all differ."""
    low = np.array([[0.5], [-0.2], [0.02], [-0.3], [0.4], [0.0], [0.2]])
    high = np.array([[1.0], [0.01], [0.5], [0.0], [0.9], [0.6], [1.0]])
    return samples.f32(low + (high - low) * rng.random((7, m)))


def _chain() -> dict[str, Tensor]:
    """Three neurons: each lights the next within a step, the last the first two steps later."""
    plain: F32 = np.array([[0, 0, 0.5, 0, 0, 0, 1]], np.float32).T * np.ones((7, 3), np.float32)
    links = sparse.coo_array(([1.0, 1.0, 1.0], ([0, 1, 6 + 2], [1, 2, 0])), shape=(9, 3))
    first = np.zeros((1, 5, 1), np.uint8)
    first[0, 0, 0] = 1
    return {
        "spikes": bits(first),
        "weight": samples.f32([[1.0], [0.0], [0.0]]),
        "recurrent": convert.to_layout(samples.f32(links.toarray()), Layout.CSR),
        "neurons": samples.f32(plain),
    }
