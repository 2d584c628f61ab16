"""Copies and computations in two queues: each as early as it can be, none before its turn.

A queue is held up by an event of ours: what was enqueued behind it cannot have happened, whatever
the timing, so an order that is not enforced shows as a wrong result or as a test that hangs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest

from services.gpu_worker import staging
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from services.gpu_worker.limits import Limits
from services.gpu_worker.resident import DeviceTensor
from services.gpu_worker.staging import Ring
from shared.network import execute
from shared.operators.catalog import spec
from shared.sparse import compressed
from shared.tensors.layouts import Tensor, dense
from tests.network.networks import f32, mlp

SIZE = 2**14  # elements
Opener = Callable[[Device], Device]


def staged(device: Device) -> Device:
    """The device as if its memory were not the host's: arrays go through the ring."""
    return replace(device, unified=False)


def alone(device: Device) -> Device:
    """The device as if it had one queue."""
    return replace(device, transfer=device.queue)


WAYS: dict[str, Opener] = {
    "copied_as_it_is": lambda device: device,
    "staged": staged,
    "staged_in_one_queue": lambda device: staged(alone(device)),
}


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest, device: Device) -> Device:
    return WAYS[request.param](device)


@pytest.fixture
def card(device: Device, cache: Path) -> Iterator[OpenCLBackend]:
    backend = OpenCLBackend(staged(device), cache)
    assert backend.residency.transfers.staged
    yield backend
    backend.synchronize()


@contextmanager
def held_up(queue: cl.CommandQueue) -> Iterator[None]:
    """What is enqueued inside the block waits for its end."""
    gate = cl.UserEvent(queue.context)
    cl.enqueue_barrier(queue, wait_for=[gate])
    try:
        yield
    finally:
        gate.set_status(cl.command_execution_status.COMPLETE)


def filled(value: float, size: int = SIZE) -> Tensor:
    return dense(np.full(size, value, np.float32))


def relu(backend: OpenCLBackend, x: DeviceTensor) -> DeviceTensor:
    return backend.run(spec("relu"), {"x": x}, {})["y"]


def test_an_upload_into_reused_memory_waits_for_its_last_reader(card: OpenCLBackend) -> None:
    x = card.upload(filled(1.0))
    y = relu(card, x)  # builds the kernel
    place = x.buffer()
    card.synchronize()

    with held_up(card.device.queue):
        late = relu(card, x)
        card.release(x)
        z = card.upload(filled(2.0))

    assert z.buffer() is place
    np.testing.assert_array_equal(card.download(late).values, 1.0)
    np.testing.assert_array_equal(card.download(z).values, 2.0)
    assert y.there


def test_a_computation_waits_for_the_upload_of_what_it_reads(card: OpenCLBackend) -> None:
    relu(card, card.upload(filled(1.0)))

    with held_up(card.device.transfer):
        y = relu(card, card.upload(filled(3.0)))

    np.testing.assert_array_equal(card.download(y).values, 3.0)


def test_a_result_in_reused_memory_waits_for_an_upload_that_nobody_read(
    card: OpenCLBackend,
) -> None:
    x = card.upload(filled(1.0))
    card.synchronize()

    with held_up(card.device.transfer):
        unread = card.upload(filled(9.0))
        place = unread.buffer()
        card.release(unread)
        y = relu(card, x)

    assert y.buffer() is place
    np.testing.assert_array_equal(card.download(y).values, 1.0)


def test_scratch_memory_is_not_overwritten_by_the_next_upload(card: OpenCLBackend) -> None:
    weight = np.eye(128, dtype=np.float32)
    x = np.arange(128 * 128, dtype=np.float32).reshape(128, 128)
    csr = {
        "weight": card.upload(compressed.to_tensor(compressed.compress(weight))),
        "x": card.upload(dense(x)),
    }
    attributes = {"batch_first": True}
    card.release(card.run(spec("spmm_csr"), csr, attributes)["y"])
    card.synchronize()

    with held_up(card.device.queue):
        y = card.run(spec("spmm_csr"), csr, attributes)["y"]
        others = [card.upload(dense(np.full((128, 128), 7.0, np.float32))) for _ in range(3)]

    np.testing.assert_array_equal(card.download(y).values, x)
    for other in others:  # nor does the call overwrite what was uploaded
        np.testing.assert_array_equal(card.download(other).values, 7.0)


def test_an_upload_does_not_wait_for_a_computation_that_does_not_concern_it(
    card: OpenCLBackend,
) -> None:
    x = card.upload(filled(1.0))
    relu(card, x)

    with held_up(card.device.queue):
        y = relu(card, x)
        card.upload(filled(4.0))
        seconds = card.upload_seconds  # waits for the copy, while the computation is held up

    assert seconds > 0.0
    np.testing.assert_array_equal(card.download(y).values, 1.0)


def test_a_download_does_not_wait_for_later_computations(way: Device, cache: Path) -> None:
    if way.transfer is way.queue:
        pytest.skip("one queue keeps the order of everything")
    backend = OpenCLBackend(way, cache)
    x = backend.upload(filled(1.0))
    y = relu(backend, x)

    with held_up(way.queue):
        later = relu(backend, x)
        values = backend.download(y).values

    np.testing.assert_array_equal(values, 1.0)
    np.testing.assert_array_equal(backend.download(later).values, 1.0)


def test_a_weight_that_left_comes_back_while_the_step_before_computes(
    device: Device, cache: Path
) -> None:
    limits = Limits(memory_bytes=8 * SIZE * 4)
    backend = OpenCLBackend(staged(device).limited(limits), cache)
    first, second = backend.upload(filled(1.0)), backend.upload(filled(2.0))
    relu(backend, first)
    fillers = [backend.upload(filled(0.0)) for _ in range(6)]  # drive the weights out
    assert not second.there
    backend.synchronize()

    with held_up(device.queue):
        y = relu(backend, fillers[-1])
        backend.residency.begin([second])
        seconds = backend.upload_seconds
        backend.residency.end([second])

    assert seconds > 0.0
    np.testing.assert_array_equal(backend.download(second).values, 2.0)
    np.testing.assert_array_equal(backend.download(y).values, 0.0)


def test_host_arrays_may_be_reused_at_once(way: Device, cache: Path) -> None:
    backend = OpenCLBackend(way, cache)
    array = np.full(2**20, 5.0, np.float32)

    x = backend.upload(dense(array))
    array[:] = 0.0

    np.testing.assert_array_equal(backend.download(x).values, 5.0)


@pytest.mark.parametrize("size", [0, 1, 1000, 4 * 1000 + 1, 12 * 1000, 100_003])
def test_arrays_larger_than_the_ring_come_through(
    monkeypatch: pytest.MonkeyPatch, device: Device, cache: Path, size: int
) -> None:
    monkeypatch.setattr(staging, "RING", 16_000)  # chunks of 4000 bytes
    backend = OpenCLBackend(staged(device), cache)
    array = np.random.default_rng(1).integers(0, 255, size).astype(np.uint8)

    back = backend.download(backend.upload(dense(array))).values

    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_uses_gives_what_was_uploaded(
    monkeypatch: pytest.MonkeyPatch, way: Device, cache: Path, seed: int
) -> None:
    monkeypatch.setattr(staging, "RING", 50_000)
    backend = OpenCLBackend(way.limited(Limits(memory_bytes=2**18)), cache)  # about 10 arrays
    rng = np.random.default_rng(seed)
    held: list[tuple[DeviceTensor, float]] = []
    for turn in range(400):
        match rng.integers(4):
            case 0:
                held.append((backend.upload(filled(turn, 6000)), turn))
            case 1 if len(held) < 5 and held:
                x, value = held[rng.integers(len(held))]
                held.append((relu(backend, x), value))
            case 2 if held:
                x, value = held[rng.integers(len(held))]
                np.testing.assert_array_equal(backend.download(x).values, value)
            case _ if len(held) > 3:
                backend.release(held.pop(rng.integers(len(held)))[0])

    for x, value in held:
        np.testing.assert_array_equal(backend.download(x).values, value)
        backend.release(x)
    assert backend.residency.memory.used == 0


def test_a_device_without_pinned_memory_copies_arrays_as_they_are(
    monkeypatch: pytest.MonkeyPatch, device: Device, cache: Path
) -> None:
    def none_left(*_: object) -> None:
        raise cl.MemoryError("clEnqueueMapBuffer", cl.status_code.MAP_FAILURE)

    monkeypatch.setattr(cl, "enqueue_map_buffer", none_left)

    backend = OpenCLBackend(staged(device), cache)

    assert not backend.residency.transfers.staged
    assert backend.download(backend.upload(filled(1.0))).values[0] == 1.0


def test_memory_that_is_the_hosts_needs_no_staging(backend: OpenCLBackend) -> None:
    assert backend.residency.transfers.staged is not backend.device.unified


def test_a_stretch_of_the_ring_is_handed_out_again_only_when_its_transfer_ended() -> None:
    class Event:
        waited = False

        def wait(self) -> None:
            self.waited = True

    ring = Ring(np.arange(100, dtype=np.uint8))
    events = [Event() for _ in range(5)]
    starts = []

    for event in events:  # 25 bytes each: the fifth begins at the start again
        starts.append(int(ring.take(25)[0]))
        ring.sent(25, event)  # type: ignore[arg-type]  # only `wait` is called

    assert starts == [0, 25, 50, 75, 0]
    assert [event.waited for event in events] == [True, False, False, False, False]


def test_the_bandwidth_is_learnt_from_large_uploads_alone(backend: OpenCLBackend) -> None:
    transfers = backend.residency.transfers

    backend.upload(filled(1.0, 100))
    backend.upload(filled(1.0, 100))
    before = transfers.bandwidth
    backend.upload(filled(1.0, 2**20))
    backend.upload(filled(1.0, 100))

    assert before == staging.BANDWIDTH
    assert transfers.bandwidth != before
    assert transfers.bandwidth > 1e7


def test_a_network_moves_its_weights_once_and_then_only_inputs_and_outputs(
    backend: OpenCLBackend,
) -> None:
    network = mlp((64, 32, 16), ("dense", "dense"))
    loaded = execute.load(network, backend)
    weights = 4 * (64 * 32 + 32 + 32 * 16 + 16)
    x = dense(np.ones((3, 64), np.float32))
    before = backend.traffic

    for _ in range(5):
        loaded.run({"x": x})
    after = backend.traffic

    assert (before.bytes_up, before.bytes_down) == (weights, 0)
    assert after.bytes_up - before.bytes_up == 5 * x.nbytes
    assert after.bytes_down == 5 * 3 * 16 * 4
    assert (after.misses, after.evictions) == (0, 0)
    loaded.close()


def test_a_network_larger_than_the_device_gives_the_same_results(
    device: Device, cache: Path
) -> None:
    network = mlp((64, 64, 64, 64, 64), ("dense", "int8", "csr", "dense"))
    roomy = execute.load(network, OpenCLBackend(device, cache))
    tight = OpenCLBackend(device.limited(Limits(memory_bytes=36 * 1024)), cache)
    loaded = execute.load(network, tight)
    x = {"x": f32(*np.random.default_rng(2).standard_normal((3, 64)))}

    wanted = roomy.run(x)["y"].values
    made = [loaded.run(x)["y"].values for _ in range(4)]

    for one in made:
        np.testing.assert_array_equal(one, wanted)
    assert tight.traffic.misses > 0
    loaded.close()
    assert tight.residency.memory.used == 0
