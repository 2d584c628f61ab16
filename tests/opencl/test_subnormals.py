"""Numbers below the smallest normal float32: a device may flush them, and does nothing else."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from shared.operators import catalog
from shared.operators.spec import Attributes
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor, dense

TINY: Array = np.array([1e-40, -1e-42, 1.0, 0.0], np.float32)  # two subnormals, two others


def run(backend: OpenCLBackend, name: str, attributes: Attributes, **inputs: Tensor) -> Array:
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    return backend.download(backend.run(catalog.spec(name), residents, attributes)["y"]).values


@pytest.mark.parametrize(
    ("name", "attributes", "kept"),
    [
        ("relu", {}, [1e-40, 0.0, 1.0, 0.0]),
        ("clip", {"low": -1.0, "high": 1.0}, TINY),
        ("cast", {"to": "f64"}, TINY),
        ("cast", {"to": "bool"}, [True, True, True, False]),
    ],
)
def test_a_subnormal_is_itself_or_zero(
    backend: OpenCLBackend, name: str, attributes: Attributes, kept: Array
) -> None:
    made = run(backend, name, attributes, x=dense(TINY)).astype(np.float64)

    wanted = np.asarray(kept, np.float32).astype(np.float64)
    assert ((made == wanted) | ((made == 0.0) & (np.abs(TINY) < 1e-38))).all()


@pytest.mark.parametrize("name", ["copy", "transpose", "reshape"])
def test_a_subnormal_that_only_moves_keeps_every_bit(backend: OpenCLBackend, name: str) -> None:
    attributes: dict[str, Attributes] = {"transpose": {"perm": (1, 0)}, "reshape": {"shape": (4,)}}

    made = run(backend, name, attributes.get(name, {}), x=dense(TINY.reshape(1, 4)))

    np.testing.assert_array_equal(made.reshape(-1).view(np.uint32), TINY.view(np.uint32))


def test_a_row_of_the_smallest_scale_is_no_row_of_zeros(backend: OpenCLBackend) -> None:
    smallest = np.finfo(np.float32).smallest_normal
    weight = affine.quantize(np.full((1, 4), smallest, np.float32), INT8_PER_CHANNEL)  # codes of 1

    y = run(backend, "gemm_i8", {}, x=dense(np.full((1, 4), 2.0, np.float32)), weight=weight)

    np.testing.assert_allclose(y, [[8 * smallest]])  # 4 columns of 2 * 1 * scale
