"""Children end with their parents, leave nothing behind, and are not started for ever."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from services.gpu_worker.isolation.backend import DeviceUnusable, IsolatedBackend
from services.gpu_worker.isolation.link import AREA
from services.gpu_worker.isolation.restarts import HEALTHY, LONGEST, Restarts
from services.gpu_worker.settings import GpuSettings
from shared.chassis.fitness import Fitness, State
from shared.contracts.errors import DeviceLost
from shared.network import execute
from shared.tensors import layouts
from shared.tensors.layouts import Tensor
from tests.opencl import faults
from tests.opencl.isolation_house import again, doubling, opened, row, until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("busy", [(), ("hang",)], ids=["idle", "inside a driver that hangs"])
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path, busy: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.opencl.orphaned_parent", str(tmp_path), *busy]
    parent = subprocess.Popen(command, cwd=ROOT)
    try:
        until((tmp_path / "pid").exists)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        parent.kill()
        parent.wait()

    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_child_that_is_idle_is_missed_and_replaced(tmp_path: Path) -> None:
    with opened(tmp_path, "reference") as backend:
        first = backend.keeper.pid
        assert first is not None

        os.kill(first, signal.SIGKILL)

        again(backend, without=first)
        assert not psutil.pid_exists(first)


def test_a_signal_meant_for_the_worker_does_not_end_its_child(tmp_path: Path) -> None:
    with opened(tmp_path, "reference") as backend:
        loaded = execute.load(doubling(), backend)
        assert backend.keeper.pid is not None

        os.kill(backend.keeper.pid, signal.SIGTERM)
        os.kill(backend.keeper.pid, signal.SIGINT)

        assert loaded.run(row())["y"].values.tolist() == [[4, 4, 8, 12]]
        assert backend.keeper.starts == 1


def test_closing_leaves_no_child_and_no_thread(tmp_path: Path) -> None:
    me = psutil.Process()
    before = me.num_fds(), set(threading.enumerate())

    with opened(tmp_path, "reference") as backend:
        child = backend.keeper.pid
        assert child is not None

    assert not psutil.pid_exists(child)
    assert (me.num_fds(), set(threading.enumerate())) == before


def test_closing_does_not_wait_for_a_call_that_hangs(tmp_path: Path) -> None:
    ended = threading.Event()

    with opened(tmp_path, "sleeping", device_patience=600.0) as backend:

        def call() -> None:
            with pytest.raises(DeviceLost):
                backend.synchronize()
            ended.set()

        caller = threading.Thread(target=call)
        caller.start()

    assert ended.wait(10)
    caller.join()


def test_restarts_leak_neither_descriptors_nor_mappings_nor_memory(tmp_path: Path) -> None:
    with opened(tmp_path, "reference", device_failures=100) as backend:
        loaded = execute.load(doubling(), backend)
        _die(backend)
        loaded.run(row())
        before = _held()

        for _ in range(4):
            _die(backend)
            assert loaded.run(row())["y"].values.tolist() == [[4, 4, 8, 12]]

        descriptors, mappings, resident = _held()
        assert (descriptors, mappings) == before[:2]
        assert resident - before[2] < 8 * 2**20  # [bytes] one area would show
        assert len(backend._live) == 1  # the weight alone


def test_large_tensors_leave_no_descriptor_and_no_memory_on_either_side(tmp_path: Path) -> None:
    with opened(tmp_path, "reference") as backend:
        child = psutil.Process(backend.keeper.pid)
        large = layouts.dense(np.ones(2 * AREA, np.uint8))
        _there_and_back(backend, large)
        before = _held(), child.num_fds(), _shared(child.pid)

        for _ in range(5):
            _there_and_back(backend, large)

        (descriptors, mappings, _), *_ = before
        assert _held()[:2] == (descriptors, mappings)
        assert (child.num_fds(), _shared(child.pid)) == before[1:]


def test_a_device_that_always_takes_its_process_along_is_given_up(tmp_path: Path) -> None:
    settings = GpuSettings(cache=tmp_path, device_failures=2)
    backend = IsolatedBackend(settings, opener=f"{faults.HERE}:never")

    with pytest.raises(DeviceUnusable, match=r"is gone"):
        backend.open()

    assert backend.keeper.starts == 2
    backend.close()


def test_a_device_that_is_not_there_is_not_looked_for_again(tmp_path: Path) -> None:
    settings = GpuSettings(cache=tmp_path, opencl_platform="no such thing")
    backend = IsolatedBackend(settings)

    with pytest.raises(DeviceUnusable, match="no device on a platform named like") as error:
        backend.open()

    assert "ELLESMERE_OPENCL_PLATFORM" in error.value.refused.fix
    assert backend.keeper.starts == 1


def test_a_device_that_fails_its_test_after_a_restart_gets_no_work_and_is_tried_on(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, "healthy_once", device_failures=3) as backend:
        first = backend.keeper.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        until(lambda: backend.fitness.standing.state is State.UNREADY)

        assert "3 failures in a row; the last: gemm_f32 gives 3, not 4" in (
            backend.fitness.standing.reason
        )
        assert backend.keeper.pid is None
        (tmp_path / faults.STARTS).unlink()  # it is mended
        again(backend, without=first)


def test_pauses_grow_to_a_bound_and_a_long_life_forgives() -> None:
    restarts = Restarts(limit=3)
    pauses = []
    for _ in range(12):
        restarts = restarts.died(lived=0.0)
        pauses.append(restarts.pause)

    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == LONGEST
    assert restarts.trouble
    assert restarts.died(lived=HEALTHY) == Restarts(limit=3, deaths=1)


def test_a_quarantine_is_not_lifted_by_a_restart() -> None:
    fitness = Fitness()
    fitness.become(State.QUARANTINED, "2 is not 3")

    fitness.become(State.FIT)

    assert fitness.standing.state is State.QUARANTINED


def _die(backend: IsolatedBackend) -> None:
    """Kill the child and wait for the next."""
    pid = backend.keeper.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    again(backend, without=pid)


def _there_and_back(backend: IsolatedBackend, tensor: Tensor) -> None:
    resident = backend.upload(tensor)
    back = backend.download(resident)
    backend.release(resident)
    backend.synchronize()
    assert back.values[-1] == tensor.values[-1]


def _shared(pid: int) -> int:
    """Mappings of shared memory of a process."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:ellesmere")


def _held() -> tuple[int, int, int]:
    """Descriptors, mappings of shared memory, resident bytes of this process."""
    me = psutil.Process()
    return me.num_fds(), _shared(me.pid), me.memory_info().rss
