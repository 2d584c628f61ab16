"""The limits of a real card hold on every device, above all on PoCL, which has none of them."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.limits import LimitExceeded, Limits
from shared.tensors.layouts import dense


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


def test_a_tensor_larger_than_one_buffer_is_refused(small: OpenCLBackend) -> None:
    too_large = dense(np.zeros(2**16 + 1, np.float32))

    with pytest.raises(LimitExceeded, match=r"one buffer of 262400 bytes .* 262144"):
        small.upload(too_large)

    assert small.residency.memory.used == 0


def test_a_tensor_with_more_elements_than_an_int_counts_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="2147483648 elements"):
        Limits().check_elements(2**31)


def test_an_exceeded_limit_is_not_worth_a_retry() -> None:
    assert not LimitExceeded.retryable
