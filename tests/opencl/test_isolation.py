"""Whatever the driver does to its process costs one batch; the next one is served."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.gpu_worker import selftest
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.isolation.backend import IsolatedBackend
from services.gpu_worker.isolation.link import AREA, LARGE
from shared.chassis.crosscheck import Crosscheck
from shared.chassis.fitness import State
from shared.contracts.errors import DeviceFailed, DeviceLost
from shared.network import execute
from shared.operators import catalog
from shared.operators.spec import OperatorSpec
from shared.tensors import layouts
from tests.opencl import faults
from tests.opencl.isolation_house import again, doubling, opened, row, until, widening

GEMM = catalog.spec("gemm_f32")
FOURFOLD = [[4.0, 4.0, 8.0, 12.0]]


@pytest.fixture(scope="module")
def isolated(device: object, cache: Path) -> Iterator[IsolatedBackend]:
    """One for all tests that leave it working; needs a device."""
    with opened(cache) as backend:
        yield backend


@pytest.mark.parametrize("spec", catalog.CATALOG, ids=lambda spec: spec.name)
def test_known_answers_come_through_the_pipe(isolated: IsolatedBackend, spec: OperatorSpec) -> None:
    checked = selftest.check(isolated, [spec.name])  # type: ignore[arg-type]  # a Backend will do

    assert checked == 1


def test_a_network_gives_the_very_bits_it_gives_in_process(
    isolated: IsolatedBackend, backend: OpenCLBackend
) -> None:
    x = np.random.default_rng(1).standard_normal((5, 4), dtype=np.float32)
    inside = execute.load(doubling(), backend).run({"x": layouts.dense(x)})

    outside = execute.load(doubling(), isolated).run({"x": layouts.dense(x)})

    np.testing.assert_array_equal(outside["y"].values, inside["y"].values)


@pytest.mark.parametrize("nbytes", [0, 4, LARGE, LARGE + 4, AREA + 4, 3 * AREA])
def test_tensors_of_every_size_come_back_whole(isolated: IsolatedBackend, nbytes: int) -> None:
    values = np.arange(nbytes // 4, dtype=np.float32)

    resident = isolated.upload(layouts.dense(values))
    back = isolated.download(resident)
    isolated.release(resident)

    np.testing.assert_array_equal(back.values, values)


def test_more_uploads_than_the_area_holds_do_not_overwrite_one_another(
    isolated: IsolatedBackend,
) -> None:
    given = [np.full(LARGE // 4, number, np.float32) for number in range(12)]

    residents = [isolated.upload(layouts.dense(values)) for values in given]
    back = [isolated.download(resident).values for resident in residents]
    for resident in residents:
        isolated.release(resident)

    assert [(values[0], values[-1]) for values in back] == [(n, n) for n in range(12)]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.ABORT, "SIGABRT"),
        (faults.SUICIDE, "SIGKILL"),
        (faults.HANG, "did not answer within 3 s"),
    ],
    ids=["abort", "kill", "hang"],
)
def test_a_fault_costs_one_batch_and_weights_are_given_to_the_next_child(
    device: object, cache: Path, fault: float, says: str
) -> None:
    with opened(cache, device_patience=3.0) as backend:
        loaded = execute.load(doubling(), backend)
        first = backend.keeper.pid

        with pytest.raises(DeviceLost):
            loaded.run(row(fault))
        until(lambda: backend.fitness.standing.state is State.AWAY)
        reason = backend.fitness.standing.reason
        again(backend, without=first)
        after = loaded.run(row())

        assert says in reason
        assert after["y"].values.tolist() == FOURFOLD


def test_work_is_refused_at_once_while_the_device_is_away(device: object, cache: Path) -> None:
    with opened(cache) as backend:
        loaded = execute.load(doubling(), backend)
        first = backend.keeper.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: backend.keeper.pid is None)

        with pytest.raises(DeviceLost):
            loaded.run(row())

        again(backend, without=first)


def test_a_tensor_computed_by_a_lost_child_is_lost_and_may_be_released(
    device: object, cache: Path
) -> None:
    with opened(cache) as backend:
        x, weight = (backend.upload(t) for t in (row()["x"], doubling().weights["w"]))
        made = backend.run(GEMM, {"x": x, "weight": weight}, {})["y"]
        first = backend.keeper.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        again(backend, without=first)

        with pytest.raises(DeviceLost, match="activation"):
            backend.download(made)

        backend.release(made)
        assert backend.download(x).values.tolist() == [[1, 1, 2, 3]]


def test_a_kernel_that_does_not_compile_fails_its_batch_with_the_compilers_words(
    isolated: IsolatedBackend,
) -> None:
    loaded = execute.load(doubling(), isolated)
    pid = isolated.keeper.pid

    with pytest.raises(DeviceFailed, match=r"BuildFailed: relu with .*no such thing"):
        loaded.run(row(faults.BUILD))

    assert loaded.run(row())["y"].values.tolist() == FOURFOLD
    assert isolated.keeper.pid == pid


def test_a_full_device_is_told_when_it_is_waited_for_and_serves_on(
    device: object, cache: Path
) -> None:
    with opened(cache, device_memory=2**20) as backend:
        large = layouts.dense(np.zeros((1000, 1000), np.float32))  # 4 MB into 1 MiB
        resident = backend.upload(large)

        with pytest.raises(DeviceFailed, match=r"(OutOfDeviceMemory|LimitExceeded): "):
            backend.synchronize()

        backend.synchronize()  # told once
        with pytest.raises(DeviceFailed):
            backend.download(resident)
        backend.release(resident)
        loaded = execute.load(doubling(), backend)
        assert loaded.run(row())["y"].values.tolist() == FOURFOLD


def test_a_network_that_does_not_fit_is_refused_when_it_is_loaded(
    device: object, cache: Path
) -> None:
    with opened(cache, device_memory=2**20) as backend:
        with pytest.raises(DeviceFailed, match=r"(OutOfDeviceMemory|LimitExceeded): "):
            execute.load(widening(2**17), backend)  # 2 MiB into 1 MiB

        assert execute.load(doubling(), backend).run(row())["y"].values.tolist() == FOURFOLD


def test_a_device_that_breaks_while_it_is_waited_for_is_opened_anew(
    device: object, cache: Path
) -> None:
    with opened(cache) as backend:
        loaded = execute.load(doubling(), backend)
        first = backend.keeper.pid

        with pytest.raises(DeviceFailed, match="CL_OUT_OF_RESOURCES"):
            loaded.run(row(faults.LATE))

        again(backend, without=first)
        assert loaded.run(row())["y"].values.tolist() == FOURFOLD


def test_a_device_that_computes_wrongly_is_quarantined_and_stays_so(
    device: object, cache: Path
) -> None:
    with opened(cache) as backend:
        check = Crosscheck(backend.fitness)
        loaded = execute.load(doubling(), backend)
        first = backend.keeper.pid
        inputs = row(faults.WRONG)

        verdict = check.offer("a" * 64, loaded, inputs, loaded.run(inputs))
        assert verdict is not None
        wrong = verdict.result(timeout=30)
        backend.keeper.condemn()
        until(lambda: backend.keeper.pid not in (None, first))

        assert wrong == "output 'y' is 100012 at (0, 3), not 12"  # 2 * 2 * 3, and 1e5 too much
        assert backend.fitness.standing.state is State.QUARANTINED


def test_a_call_that_does_not_fit_is_refused_here_without_the_child(
    isolated: IsolatedBackend,
) -> None:
    x = isolated.upload(row()["x"])

    with pytest.raises(ValueError, match="port 'weight' is missing"):
        isolated.run(GEMM, {"x": x}, {})

    isolated.release(x)
    with pytest.raises(ValueError, match="released tensor"):
        isolated.download(x)
