"""More rows of groups than one launch may have: the work is enqueued in pieces, none is lost."""

from pathlib import Path

import numpy as np
import pytest

import kernels
from services.gpu_worker import programs, tuning
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from shared.operators.catalog import spec
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Tensors
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL, int4_per_group
from shared.sparse import compressed
from shared.tensors.layouts import dense


def assert_same(backend: OpenCLBackend, name: str, inputs: Tensors, attributes: Attributes) -> None:
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    outputs = backend.run(spec(name), residents, attributes)
    for port, expected in ReferenceBackend().run(spec(name), inputs, attributes).items():
        made = backend.download(outputs[port]).values
        np.testing.assert_allclose(made, expected.values, rtol=1e-5, atol=1e-5)


def test_a_batch_of_more_matrices_than_rows_of_a_launch_is_transposed(
    backend: OpenCLBackend, rng: np.random.Generator
) -> None:
    x = dense(rng.standard_normal((2 * programs.MOST_ROWS + 3, 2, 3), dtype=np.float32))

    assert_same(backend, "transpose", {"x": x}, {"perm": (0, 2, 1)})


def test_more_neurons_than_rows_of_a_launch_learn(
    backend: OpenCLBackend, rng: np.random.Generator
) -> None:
    post, pre = programs.MOST_ROWS + 70, 3
    inputs = {
        "weight": dense(rng.random((post, pre), dtype=np.float32)),
        "pre_spikes": dense(np.ones(pre, np.float32)),
        "post_spikes": dense((rng.random(post) < 0.5).astype(np.float32)),
        "pre_trace": dense(rng.random(pre, dtype=np.float32)),
        "post_trace": dense(rng.random(post, dtype=np.float32)),
    }
    rates = {"a_plus": 0.1, "a_minus": 0.2, "decay_pre": 0.9, "decay_post": 0.8}

    assert_same(backend, "stdp_update", inputs, rates)


def test_an_offset_is_part_of_every_row_that_a_kernel_counts(
    device: Device, cache: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MOST_ROWS", 2)
    card = OpenCLBackend(device, cache, tuning.CARD)
    x = dense(rng.standard_normal((300, 48), dtype=np.float32))  # five rows of tiles: 2, 2 and 1
    full = rng.standard_normal((131, 48), dtype=np.float32)
    eight, four = affine.quantize(full, INT8_PER_CHANNEL), affine.quantize(full, int4_per_group(48))

    assert_same(card, "gemm_f32", {"x": x, "weight": dense(full)}, {})
    assert_same(card, "gemm_i8", {"x": x, "weight": eight}, {})
    assert_same(card, "gemm_i4", {"x": x, "weight": four}, {"x_bits": 32})
    assert_same(card, "gemm_i4", {"x": x, "weight": four}, {"x_bits": 8})
    sparse = compressed.to_tensor(compressed.compress(np.where(full > 1.0, full, 0.0)))
    for columns in (3, 300):  # few and many
        operands = {"weight": sparse, "x": dense(x.values.T[:, :columns].copy())}
        assert_same(card, "spmm_csr", operands, {})


@pytest.mark.parametrize("name", kernels.NAMES)
def test_no_kernel_counts_rows_without_the_offset(name: str) -> None:
    assert "get_group_id(1)" not in kernels.source(name)
