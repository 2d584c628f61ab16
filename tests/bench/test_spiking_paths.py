"""The ways through a layer of spikes that are measured side by side."""

import numpy as np
import pytest

from ops.bench import spiking_paths as paths
from services.cpu_worker.engine import Engine
from services.cpu_worker.spiking.running import Synapses
from shared.tensors import packing


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5])
def test_every_way_makes_the_same_spikes(
    kernels: Engine, rng: np.random.Generator, rate: float
) -> None:
    weight = rng.standard_normal((paths.OUTPUTS, paths.INPUTS), dtype=np.float32) / 14
    spikes = rng.random((paths.ROWS, paths.STEPS, paths.INPUTS)) < rate
    words = packing.join_spikes(spikes.astype(np.uint8)).reshape(-1)
    made = {}
    for name, way in paths.ways_through(
        Synapses.of(weight, 16), np.zeros(paths.OUTPUTS, np.int32)
    ).items():
        run = paths.run_over(words)
        way(run)
        made[name] = run.fired

    assert made.keys() == paths.NAMES.keys()
    assert made["events"].any() == (rate > 0)
    np.testing.assert_array_equal(made["events"], made["blas"])
    np.testing.assert_array_equal(made["events"], made["chosen"])
