"""A device without 64-bit floats casts everything else, and says what it cannot."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from services.gpu_worker.launch.elementwise import NoDoubles
from shared.operators import catalog
from shared.tensors.layouts import dense

CAST = catalog.spec("cast")
X = dense(np.array([-1.5, 0.0, 300.7], np.float32))


@pytest.fixture
def single(device: Device, cache: Path) -> OpenCLBackend:
    return OpenCLBackend(replace(device, doubles=False), cache)


def test_casts_between_other_types_are_done_without_doubles(single: OpenCLBackend) -> None:
    made = single.run(CAST, {"x": single.upload(X)}, {"to": "u8"})["y"]

    np.testing.assert_array_equal(single.download(made).values, [0, 0, 255])  # cut, saturated


def test_f64_that_comes_in_is_left_to_the_reference(single: OpenCLBackend) -> None:
    wide = dense(np.zeros(3)).type

    assert single.supports(CAST, {"x": X.type})
    assert not single.supports(CAST, {"x": wide})


def test_f64_that_is_asked_for_is_refused_for_good_and_leaves_nothing(
    single: OpenCLBackend,
) -> None:
    x = single.upload(X)
    held = single.residency.memory.used

    with pytest.raises(NoDoubles, match="does not compute with f64"):
        single.run(CAST, {"x": x}, {"to": "f64"})

    assert not NoDoubles.retryable
    assert single.residency.memory.used == held
