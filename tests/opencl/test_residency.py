"""Tensors stay on the device, every byte is counted, and all of them come back."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.laid_out import pitch
from services.gpu_worker.limits import LimitExceeded
from services.gpu_worker.memory import IDLE_SHARE, OutOfDeviceMemory
from shared.contracts.errors import DeviceFailed
from shared.operators.catalog import spec
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense
from tests.numerics.sparse_samples import stored


def codes(rows: int, cols: int) -> Tensor:
    parts: dict[str, Array] = {
        "codes": np.arange(rows * cols, dtype=np.int8).reshape(rows, cols),
        "scale": np.full((rows, 1), 0.5, np.float32),
    }
    return Tensor(Layout.INT8_CHANNEL, Dtype.F32, (rows, cols), parts)


TENSORS = {
    "matrix": dense(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "scalar": dense(np.array(7, np.int64)),
    "empty": dense(np.zeros((0, 4), np.float16)),
    "truths": dense(np.array([True, False])),
    "upper_halves": dense(np.array([0x3F80], "<u2"), Dtype.BF16),
    "odd_rows_of_codes": codes(3, 5),
    "whole_rows_of_codes": codes(2, 32),
    "csr": stored([0, 1, 3], [2, 0, 1], [1, 2, 3], cols=3),
}


ODDLY_STORED = {
    "byte_swapped": np.arange(6, dtype=">f4").reshape(2, 3),
    "every_other_column": np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],
    "column_major": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "backwards": np.arange(6, dtype=np.float32)[::-1],
    "one_row_for_all": np.broadcast_to(np.arange(3, dtype=np.float32), (2, 3)),
}


@pytest.mark.parametrize("name", sorted(ODDLY_STORED))
def test_an_array_is_uploaded_by_its_values_however_it_lies(
    backend: OpenCLBackend, name: str
) -> None:
    array = ODDLY_STORED[name]
    tensor = Tensor(Layout.DENSE, Dtype.F32, array.shape, {"values": array})

    back = backend.download(backend.upload(tensor)).values

    assert back.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", sorted(TENSORS))
def test_a_tensor_comes_back_as_it_went(backend: OpenCLBackend, name: str) -> None:
    tensor = TENSORS[name]

    resident = backend.upload(tensor)
    back = backend.download(resident)

    assert resident.type == tensor.type
    assert back.type == tensor.type
    for part, array in tensor.parts.items():
        np.testing.assert_array_equal(back.parts[part], array)
        assert back.parts[part].dtype == array.dtype


@pytest.mark.parametrize(("cols", "bytes_apart"), [(1, 16), (16, 16), (17, 32)])
def test_rows_of_codes_start_at_multiples_of_16_bytes(cols: int, bytes_apart: int) -> None:
    assert pitch(cols) == bytes_apart


def test_bytes_are_counted_while_held_and_none_after(backend: OpenCLBackend) -> None:
    memory = backend.residency.memory

    residents = [backend.upload(tensor) for tensor in TENSORS.values()]
    held = memory.used
    for resident in residents:
        backend.release(resident)

    # Blocks of 256 bytes: five dense tensors, codes and scale twice, three parts of the CSR.
    assert held == 256 * (5 + 2 * 2 + 3)
    assert memory.used == 0


def test_releasing_twice_counts_once(backend: OpenCLBackend) -> None:
    kept, given = backend.upload(TENSORS["matrix"]), backend.upload(TENSORS["matrix"])

    backend.release(given)
    backend.release(given)

    assert backend.residency.memory.used == 256
    backend.release(kept)


def test_a_reshaped_tensor_shares_its_bytes_until_both_are_released(
    backend: OpenCLBackend,
) -> None:
    x = backend.upload(TENSORS["matrix"])

    y = backend.run(spec("reshape"), {"x": x}, {"shape": (3, 2)})["y"]
    used_by_both = backend.residency.memory.used
    backend.release(x)
    seen = backend.download(y).values

    np.testing.assert_array_equal(seen, np.arange(6, dtype=np.float32).reshape(3, 2))
    assert used_by_both == backend.residency.memory.used == 256
    backend.release(y)
    assert backend.residency.memory.used == 0


def test_a_released_tensor_is_refused(backend: OpenCLBackend) -> None:
    x = backend.upload(TENSORS["matrix"])
    backend.release(x)

    with pytest.raises(ValueError, match=r"released tensor of shape \(2, 3\)"):
        backend.run(spec("relu"), {"x": x}, {})
    with pytest.raises(ValueError, match="released tensor"):
        backend.download(x)
    with pytest.raises(ValueError, match="released tensor"):
        backend.run(spec("reshape"), {"x": x}, {"shape": (-1,)})

    assert backend.residency.memory.used == 0


def test_a_thousand_runs_leave_nothing_behind(backend: OpenCLBackend) -> None:
    memory = backend.residency.memory
    x, weight = backend.upload(dense(np.ones((3, 8), np.float32))), backend.upload(codes(4, 8))
    before = memory.used
    idle = []

    for _ in range(1000):
        y = backend.run(spec("gemm_i8"), {"x": x, "weight": weight}, {})["y"]
        z = backend.run(spec("relu"), {"x": y}, {})["y"]
        backend.release(y)
        backend.release(z)
        idle.append(memory.idle)
    backend.synchronize()

    assert memory.used == before
    assert max(idle) == 2 * 256  # the same two blocks again and again


def test_memory_that_is_not_there_is_refused_with_numbers(small: OpenCLBackend) -> None:
    quarter = small.upload(dense(np.zeros(2**16, np.float32)))  # 256 KiB of 1 MiB
    made = [small.run(spec("relu"), {"x": quarter}, {})["y"] for _ in range(3)]

    with pytest.raises(OutOfDeviceMemory, match=r"262144 bytes do not fit: 1048576 of 1048576"):
        small.run(spec("relu"), {"x": quarter}, {})

    for resident in (quarter, *made):
        small.release(resident)
    assert small.residency.memory.used == 0


def test_a_run_that_finds_no_memory_leaves_none_behind(small: OpenCLBackend) -> None:
    memory = small.residency.memory
    state = {name: small.upload(dense(np.zeros((1, 2**16), np.float32))) for name in "ab"}
    third = small.run(spec("relu"), {"x": state["a"]}, {})["y"]
    inputs = {"v": state["a"], "current": state["b"]}

    with pytest.raises(OutOfDeviceMemory):  # one of the two outputs fits
        small.run(spec("lif_step"), inputs, {"decay": 0.5})

    assert memory.used == 3 * 2**18
    small.release(third)
    made = small.run(spec("lif_step"), inputs, {"decay": 0.5})
    assert sorted(made) == ["spikes", "v_next"]


def test_an_upload_that_fails_halfway_leaves_nothing_behind(small: OpenCLBackend) -> None:
    weight = codes(2**16, 2)  # codes padded to 1 MiB, all there is; the scale does not fit too
    memory = small.residency.memory

    with pytest.raises(OutOfDeviceMemory):
        small.upload(weight)
    with pytest.raises(LimitExceeded):  # a single row is larger than a buffer
        small.upload(codes(1, 2**18 + 1))

    assert memory.used == 0


def test_idle_memory_is_bounded_and_given_up_for_others(small: OpenCLBackend) -> None:
    memory = small.residency.memory

    for size in range(256, 2**17, 4096):
        small.release(small.upload(dense(np.zeros(size, np.uint8))))
    bounded = memory.idle
    whole = [small.upload(dense(np.zeros(2**18, np.uint8))) for _ in range(4)]

    assert 0 < bounded <= memory.capacity // IDLE_SHARE
    assert memory.used == memory.capacity
    for resident in whole:
        small.release(resident)


def test_running_out_of_memory_is_worth_a_retry_elsewhere() -> None:
    assert OutOfDeviceMemory.retryable
    assert issubclass(OutOfDeviceMemory, DeviceFailed)


def test_transfers_are_timed_by_the_device(backend: OpenCLBackend) -> None:
    resident = backend.upload(dense(np.zeros(2**20, np.float32)))
    backend.download(resident)

    assert backend.upload_seconds > 0.0
    assert backend.download_seconds > 0.0
    backend.release(resident)
