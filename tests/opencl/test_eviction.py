"""More weights than the device holds: some leave and come back when they are read, unnoticed."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.memory import OutOfDeviceMemory
from services.gpu_worker.resident import DeviceTensor
from shared.network import artifact, execute
from shared.operators.catalog import spec
from shared.tensors.layouts import Tensor, dense
from tests.network.networks import mlp

WIDTH = 256
WEIGHT_BYTES = WIDTH * WIDTH * 4  # a quarter of the small device, and its largest buffer


def weight(seed: int, *, frozen: bool = True) -> Tensor:
    values = np.random.default_rng(seed).standard_normal((WIDTH, WIDTH), np.float32)
    values.flags.writeable = not frozen
    return dense(values)


def multiplied(backend: OpenCLBackend, x: DeviceTensor, by: DeviceTensor) -> np.ndarray:
    y = backend.run(spec("gemm_f32"), {"x": x, "weight": by}, {})["y"]
    values = backend.download(y).values
    backend.release(y)
    return values


@pytest.mark.parametrize("frozen", [True, False])
def test_six_weights_work_on_a_device_that_holds_three(small: OpenCLBackend, frozen: bool) -> None:
    x = dense(np.eye(2, WIDTH, dtype=np.float32))
    weights = [weight(seed, frozen=frozen) for seed in range(6)]

    uploaded = [small.upload(one) for one in weights]
    row = small.upload(x)
    for _ in range(3):
        for one, there in zip(weights, uploaded, strict=True):
            # Two rows of the unit matrix pick two columns of the weight: exact.
            np.testing.assert_array_equal(multiplied(small, row, there), one.values[:, :2].T)

    traffic = small.traffic
    assert small.residency.memory.used <= small.residency.memory.capacity
    assert traffic.hits + traffic.misses == 2 * 3 * 6  # x and the weight of each call
    assert traffic.misses >= 3
    assert traffic.bytes_again >= traffic.misses // 2 * WEIGHT_BYTES


def test_a_loop_over_one_weight_too_many_misses_less_than_every_time(small: OpenCLBackend) -> None:
    row = small.upload(dense(np.eye(1, WIDTH, dtype=np.float32)))
    uploaded = [small.upload(weight(seed)) for seed in range(4)]  # three fit beside x and y
    rounds = 10

    for _ in range(rounds):
        for there in uploaded:
            multiplied(small, row, there)

    # Least recently used would miss 4 of 4 weights in each round, the optimum 1 or 2.
    assert small.traffic.misses <= 2 * rounds + 4


def test_an_array_that_is_written_to_after_its_upload_keeps_its_uploaded_values(
    small: OpenCLBackend,
) -> None:
    values = np.ones((WIDTH, WIDTH), np.float32)
    there = small.upload(dense(values))
    values[:] = 7.0

    others = [small.upload(weight(seed, frozen=False)) for seed in range(4)]  # drive it out
    evicted = not there.there
    y = small.run(spec("relu"), {"x": there}, {})["y"]

    assert evicted
    np.testing.assert_array_equal(small.download(y).values, 1.0)
    assert small.traffic.bytes_down >= WEIGHT_BYTES  # read back before it left
    assert len(others) == 4


def test_a_read_only_view_of_a_writable_array_is_not_trusted(small: OpenCLBackend) -> None:
    values = np.ones((WIDTH, WIDTH), np.float32)
    view = values.view()
    view.flags.writeable = False
    there = small.upload(dense(view))
    values[:] = 7.0

    for seed in range(4):
        small.upload(weight(seed))

    np.testing.assert_array_equal(small.download(there).values, 1.0)


def test_what_has_left_can_be_downloaded_and_released(small: OpenCLBackend) -> None:
    first = weight(0)
    there = small.upload(first)
    others = [small.upload(weight(seed)) for seed in range(1, 5)]

    back = small.download(there)
    for resident in (there, *others):
        small.release(resident)

    np.testing.assert_array_equal(back.values, first.values)
    assert small.residency.memory.used == 0


def test_results_never_leave(small: OpenCLBackend) -> None:
    one = small.upload(weight(0))
    made = [small.run(spec("relu"), {"x": one}, {})["y"] for _ in range(3)]
    small.release(one)

    uploaded = [small.upload(weight(seed)) for seed in range(1, 4)]

    assert all(result.there for result in made)
    assert [resident.there for resident in uploaded] == [False, False, True]


def test_what_a_call_reads_stays_until_it_is_launched(small: OpenCLBackend) -> None:
    a, b = small.upload(weight(1)), small.upload(weight(2))
    idle = small.upload(weight(3))

    y = small.run(spec("add"), {"a": a, "b": b}, {})["y"]  # takes the last quarter
    z = small.run(spec("add"), {"a": a, "b": b}, {})["y"]  # needs the one of `idle`

    assert (a.there, b.there, idle.there) == (True, True, False)
    wanted = weight(1).values + weight(2).values
    np.testing.assert_array_equal(small.download(y).values, wanted)
    np.testing.assert_array_equal(small.download(z).values, wanted)


def test_a_tensor_of_which_a_view_is_in_use_stays(small: OpenCLBackend) -> None:
    x = small.upload(weight(1))
    y = small.run(spec("reshape"), {"x": x}, {"shape": (WIDTH * WIDTH,)})["y"]

    for seed in range(2, 6):
        small.upload(weight(seed))

    assert x.there
    np.testing.assert_array_equal(small.download(y).values, weight(1).values.reshape(-1))


def test_a_call_that_does_not_fit_throws_nobody_out_in_vain(small: OpenCLBackend) -> None:
    a, b = small.upload(weight(1)), small.upload(weight(2))
    made = [small.run(spec("relu"), {"x": a}, {})["y"] for _ in range(2)]
    small.release(b)
    c = small.upload(weight(3))

    with pytest.raises(OutOfDeviceMemory):  # a and c are read, two results stay
        small.run(spec("add"), {"a": a, "b": c}, {})

    assert a.there
    assert c.there
    assert len(made) == 2


def test_weights_of_an_artifact_leave_without_being_read_back(small: OpenCLBackend) -> None:
    stored = artifact.pack(mlp((256, 256, 256, 256, 256), ("dense",) * 4))
    loaded = execute.load(artifact.unpack(stored), small)  # 1 MiB of weights into 1 MiB
    x = np.ones((1, 256), np.float32)

    for _ in range(3):
        loaded.run({"x": dense(x)})

    assert small.traffic.evictions > 0
    assert small.traffic.bytes_down == 3 * x.nbytes  # the results alone
