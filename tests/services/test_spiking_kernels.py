"""Spiking layers on the CPU: by events and by BLAS, the same spikes as the definition."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cpu_worker.backend import CpuBackend
from services.cpu_worker.engine import Engine
from shared.operators import catalog, spike_trains
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense

LEAKY: Attributes = {"decay": 0.9, "threshold": 0.6}
FILTERED: Attributes = {**LEAKY, "synapse": 0.8, "couple": 0.5, "direct": 0.25}


def called(share: float, seed: int, scale: float) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    n, steps, k, m = (int(size) for size in rng.integers(1, (5, 12, 90, 70)))
    weight: F32 = rng.standard_normal((m, k), dtype=np.float32) * np.float32(scale / np.sqrt(k))
    train = (rng.random((n, steps, k)) < share).astype(np.uint8)
    bias: F32 = rng.standard_normal(m, dtype=np.float32) * np.float32(0.1)
    return {"spikes": spike_trains.bits(train), "weight": dense(weight), "bias": dense(bias)}


@pytest.mark.parametrize(
    ("operator", "attributes"), [("lif_layer", LEAKY), ("cuba_layer", FILTERED)]
)
@pytest.mark.parametrize("threads", [1, 2])
@given(st.floats(0, 1), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1e3]))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_spikes_are_those_of_the_definition_however_many_arrive(
    kernels: Engine,
    operator: str,
    attributes: Attributes,
    threads: int,
    share: float,
    seed: int,
    scale: float,
) -> None:
    inputs, spec = called(share, seed, scale), catalog.spec(operator)
    backend = CpuBackend(Engine(threads, None))

    held = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    made = {
        port: backend.download(value) for port, value in backend.run(spec, held, attributes).items()
    }

    for port, wanted in ReferenceBackend().run(spec, inputs, attributes).items():
        np.testing.assert_array_equal(made[port].values, wanted.values)


def test_a_weight_becomes_whole_numbers_once(kernels: Engine) -> None:
    inputs, spec = called(0.2, 3, 1.0), catalog.spec("lif_layer")
    backend = CpuBackend(Engine(1, None))
    held = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    first = backend.run(spec, held, LEAKY)["v_next"]

    inputs["weight"].values.view(np.float32)[:] = 0  # nobody should look again
    second = backend.run(spec, held, LEAKY)["v_next"]

    np.testing.assert_array_equal(backend.download(first).values, backend.download(second).values)
