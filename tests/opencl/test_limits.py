"""The limits of a real card hold on every device, above all on PoCL, which has none of them."""

from pathlib import Path

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from services.gpu_worker.limits import LimitExceeded, Limits
from shared.operators import catalog
from shared.operators.samples import zeros
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.sparse import compressed
from shared.tensors.layouts import dense

FLAT = np.zeros((40, 3), np.float32)


def test_defaults_are_those_of_an_8_gb_rx_580() -> None:
    limits = Limits()

    assert (limits.group, limits.local_bytes, limits.buffer_bytes) == (256, 32768, 4_244_635_648)


def test_the_tighter_of_two_limits_counts() -> None:
    card, processor = Limits(), Limits(group=4096, local_bytes=2**21, memory_bytes=2**30)

    both = card.within(processor)

    assert (both.group, both.local_bytes, both.memory_bytes) == (256, 32768, 2**30)


@pytest.mark.parametrize("group", [0, 32, 96, 257, 512])
def test_a_group_is_whole_wavefronts_and_at_most_256(group: int) -> None:
    with pytest.raises(LimitExceeded, match=f"groups of {group} work-items"):
        Limits().check_kernel("k", group=group, local_bytes=0)


def test_a_group_of_four_wavefronts_is_fine() -> None:
    Limits().check_kernel("k", group=256, local_bytes=32768)


def test_a_kernel_built_for_larger_groups_is_refused(backend: OpenCLBackend) -> None:
    with pytest.raises(LimitExceeded, match="relu wants groups of 1024"):
        backend.programs.kernel("relu", {"GROUP": 1024})


def test_a_kernel_with_too_much_local_memory_is_refused(backend: OpenCLBackend) -> None:
    tile = {"MATRIX": 1, "TILE": 128}  # 128 · 129 · 4 = 66048 bytes

    with pytest.raises(LimitExceeded, match="66048 bytes of local memory"):
        backend.programs.kernel("transpose", tile, "transpose_matrix")


def test_a_row_larger_than_one_buffer_is_refused(small: OpenCLBackend) -> None:
    too_large = dense(np.zeros((1, 2**16 + 1), np.float32))

    with pytest.raises(LimitExceeded, match=r"one buffer of 262400 bytes .* 262144"):
        small.upload(too_large)

    assert small.residency.memory.used == 0


@pytest.mark.parametrize("count", [2**31 - 2**12 + 1, 2**31])
def test_an_array_that_a_kernel_cannot_number_is_refused(count: int) -> None:
    with pytest.raises(LimitExceeded, match=f"{count} elements is over the limit of 2147479552"):
        Limits().check_elements(count)


def test_the_idle_work_items_of_the_largest_launch_still_fit_an_int() -> None:
    per_item, group = 4, Limits().group  # of the kernels that number elements as 4 * item

    beyond = -(-Limits().elements // (per_item * group)) * per_item * group

    assert beyond + per_item <= 2**31 - 1


PRODUCTS = {  # each operand has fewer than 1000 elements, the result has 40 * 40
    "gemm_f32": {"x": zeros(40, 3), "weight": zeros(40, 3)},
    "gemm_i8": {"x": zeros(40, 3), "weight": affine.quantize(FLAT, INT8_PER_CHANNEL)},
    "spmm_csr": {"x": zeros(3, 40), "weight": compressed.to_tensor(compressed.compress(FLAT))},
}


@pytest.mark.parametrize("name", sorted(PRODUCTS))
def test_a_product_whose_result_a_kernel_cannot_number_is_refused(
    device: Device, cache: Path, name: str
) -> None:
    backend = OpenCLBackend(device.limited(Limits(elements=1000)), cache)
    residents = {port: backend.upload(tensor) for port, tensor in PRODUCTS[name].items()}
    held = backend.residency.memory.used

    with pytest.raises(LimitExceeded, match="1600 elements is over the limit of 1000"):
        backend.run(catalog.spec(name), residents, {})

    assert backend.residency.memory.used == held


def test_a_sparse_weight_is_counted_by_what_it_stores(device: Device, cache: Path) -> None:
    backend = OpenCLBackend(device.limited(Limits(elements=1000)), cache)
    eye = compressed.to_tensor(compressed.compress(np.eye(100, dtype=np.float32)))  # 10,000 places
    x = np.arange(100, dtype=np.float32).reshape(100, 1)

    weight, column = backend.upload(eye), backend.upload(dense(x))
    y = backend.run(catalog.spec("spmm_csr"), {"weight": weight, "x": column}, {})["y"]

    np.testing.assert_array_equal(backend.download(y).values, x)


def test_an_exceeded_limit_is_not_worth_a_retry() -> None:
    assert not LimitExceeded.retryable
