"""Tuning on a device: wrong launches never win; what is found is used until it is slow."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from services.gpu_worker import probe, tune
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from services.gpu_worker.isolation.backend import IsolatedBackend
from services.gpu_worker.launch import dense as launchers
from services.gpu_worker.launch.call import Call
from services.gpu_worker.launch.table import LAUNCHERS
from services.gpu_worker.settings import GpuSettings
from services.gpu_worker.tuned import entry, problems, recheck, search, space, store
from services.gpu_worker.tuned.entry import Document, Entry
from services.gpu_worker.tuned.problems import Problem
from services.gpu_worker.tuned.rig import DeviceRig
from services.gpu_worker.tuned.search import Refused, Rig, Search
from services.gpu_worker.tuned.space import Field, Values
from services.gpu_worker.tuned.store import Store
from services.gpu_worker.tuning import CARD, PROCESSOR, Tuning
from shared.contracts.errors import DeviceFailed
from shared.operators import catalog
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType, dense

ROOT = Path(__file__).parents[2]
GEMM, RELU = problems.of("gemm_f32")[1], problems.of("relu")[0]


def entry_of(problem: Problem, values: Values) -> Entry:
    return Entry(problem.operator, problem.shape, problem.name, dict(values), 0.1, 0.2, 11)


def document(device: Device, start: Tuning, *entries: Entry) -> Document:
    key = store.key_of(device.name, device.driver, start)
    return Document(entry.FORMAT, key, device.name, device.driver, entries)


def test_an_operator_is_tuned_in_a_process_of_its_own(cache: Path, tmp_path: Path) -> None:
    for name in ("programs", "pocl"):  # what was built once
        if (cache / name).exists():
            (tmp_path / name).symlink_to(cache / name)

    ended = subprocess.run(
        [sys.executable, "-m", "services.gpu_worker.tune", "--operator=relu", "--budget-s=20"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"ELLESMERE_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
        timeout=100,
        check=True,
    )

    (line,) = ended.stdout.splitlines()
    answer = json.loads(line)
    (row,) = answer["results"]
    assert (row["operator"], row["complete"]) == ("relu", True)
    assert [each["values"] for each in row["tried"]] == [{"item_group": 64}]
    assert row["seconds"] > 0.0
    assert f"{tune.MARK}1/1 relu" in ended.stderr
    start = PROCESSOR if answer["class"] == "gpu-pocl" else CARD
    found = Store(tmp_path).read(answer["key"], start)
    assert found is not None
    assert entry.encode(found).decode() == answer["document"]


@pytest.fixture
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tuner in this process must not take over its logging."""
    monkeypatch.setattr(tune.telemetry, "configure", lambda *service, **options: None)


@pytest.mark.usefixtures("unlogged")
def test_a_second_tuner_of_a_cache_is_told_to_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELLESMERE_CACHE", str(tmp_path))

    with Store(tmp_path).locked():
        code = tune.main(["--operator", "relu"])

    error = json.loads(capsys.readouterr().out)["error"]
    assert (code, error["code"]) == (1, "EL-1305")


@pytest.mark.usefixtures("unlogged")
def test_an_operator_without_choices_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main(["--operator", "reshape"]) == 1

    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "EL-1100"
    assert "'reshape'" in error["message"]


def test_a_launch_that_computes_wrongly_is_refused_however_fast_it_is(
    backend: OpenCLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(call: Call) -> None:
        if call.gpu.tuning.wrows == 1:
            call.output("y")  # and nothing is computed
        else:
            launchers.gemm_f32(call)

    monkeypatch.setitem(LAUNCHERS, "gemm_f32", hasty)
    fields = (Field("wrows", card=(1,), processor=(1,)),)
    start = backend.choices.start.tuning

    with closing(DeviceRig(backend, GEMM)) as rig:
        found = Search(fields, start, lambda values: None, rig, lambda: False).run()

    assert found.values == {}
    (tried,) = found.tried
    assert tried.values == {"wrows": 1}
    assert tried.refused == "wrong answer of the problem: y differs from the reference"
    assert backend.residency.memory.used == 0


def test_a_launch_that_is_wrong_at_an_edge_alone_is_refused_by_the_cases(
    backend: OpenCLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(call: Call) -> None:
        launchers.gemm_f32(call)
        if call.inputs["x"].shape[0] == 3:
            call.gpu.programs.kernel("copy", {}).launch(
                1, 1, call.buffer("x"), call.outputs["y"].buffer()
            )

    monkeypatch.setitem(LAUNCHERS, "gemm_f32", careless)

    with closing(DeviceRig(backend, GEMM)) as rig:
        rig.prepare({})
        with pytest.raises(Refused, match="wrong answer of case"):
            rig.vet({})


def test_a_launch_that_does_not_build_or_is_over_a_limit_is_refused(
    backend: OpenCLBackend,
) -> None:
    with closing(DeviceRig(backend, RELU)) as rig:
        with pytest.raises(Refused, match="LimitExceeded: kernel relu wants groups of 512"):
            rig.prepare({"item_group": 512})
        with pytest.raises(Refused, match="BuildFailed: relu with"):
            rig.prepare({"item_group": -64})

    assert backend.residency.memory.used == 0


def test_tuned_values_reach_their_own_shape_class_and_no_other(backend: OpenCLBackend) -> None:
    choices, start = backend.choices, backend.choices.start.tuning
    choices.adopt([entry_of(GEMM, {"wrows": 1})])
    other = GEMM.types | {"x": TensorType(Layout.DENSE, Dtype.F32, (2, 1024))}

    assert choices.of("gemm_f32", GEMM.types, {}).tuning == space.applied(start, {"wrows": 1})
    assert choices.of("gemm_f32", other, {}).tuning is start
    assert choices.of("relu", RELU.types, {}).tuning is start
    choices.adopt([])
    assert choices.of("gemm_f32", GEMM.types, {}).tuning is start


def test_calls_with_tuned_values_answer_as_before(backend: OpenCLBackend) -> None:
    x = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    small = {"x": TensorType(Layout.DENSE, Dtype.F32, (4, 4))}
    shape = space.of("relu").shape_class(small, {})
    backend.choices.adopt([Entry("relu", shape, "4x4", {"item_group": 64}, 0.1, 0.2, 1)])

    resident = backend.upload(dense(x))
    y = backend.download(backend.run(catalog.spec("relu"), {"x": resident}, {})["y"])

    assert backend.choices.of("relu", small, {}).tuning.item_group == 64
    np.testing.assert_array_equal(y.values, np.maximum(x, 0))


def test_stored_values_are_proved_again_before_they_are_used(
    backend: OpenCLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOSS", 10.0)  # whatever else this machine does
    same = entry_of(RELU, {})  # as fast as the start values, for it is them

    outcome = recheck.adopt(backend, [same], turn=0)

    assert outcome.kept == backend.choices.entries == (same,)
    assert backend.residency.memory.used == 0


def test_a_worker_opens_with_what_its_cache_holds_and_takes_what_a_broker_has(
    device: Device, cache: Path
) -> None:
    start = PROCESSOR if device.worker_class == "gpu-pocl" else CARD
    made = document(device, start, entry_of(RELU, {}))  # holds: it is the start values
    path = Store(cache).write(made)
    isolated = IsolatedBackend(GpuSettings(cache=cache, opencl_platform=device.platform))
    try:
        ready = isolated.open()
        isolated.adopt(entry.encode(made))
        isolated.adopt(b"nonsense")  # is logged over there
        x = isolated.upload(dense(np.array([-1.0, 2.0], np.float32)))
        y = isolated.download(isolated.run(catalog.spec("relu"), {"x": x}, {})["y"])
    finally:
        isolated.close()
        path.unlink()

    assert ready.facts["tuned"] in (0, 1)  # noise may make it look slower than itself
    assert list(y.values) == [0.0, 2.0]


class Told:
    """A rig with two speeds."""

    def __init__(self, tuned: float | None) -> None:
        self.tuned = tuned

    def prepare(self, values: Values) -> object:
        if values and self.tuned is None:
            raise Refused("wrong answer of the problem")
        return None

    def time(self, values: Values) -> float:
        return float(self.tuned or 0.0) if values else 1.0

    def vet(self, values: Values) -> None:
        raise AssertionError


ENTRIES = [entry_of(problem, {"wrows": 8}) for problem in problems.of("gemm_f32")]


def proved(speeds: list[float | None], *, turn: int = 0, step: float = 0.0) -> recheck.Outcome:
    @contextmanager
    def opened(asked: Entry) -> Iterator[Rig]:
        yield Told(speeds[ENTRIES.index(asked)])

    ticks = count()
    return recheck.prove(
        ENTRIES[: len(speeds)], opened, clock=lambda: next(ticks) * step, turn=turn, seconds=2.0
    )


def test_an_entry_that_became_slow_or_wrong_falls_back_to_the_start_values() -> None:
    outcome = proved([0.9, 1.2, None, 1.0])

    assert outcome.kept == (ENTRIES[0], ENTRIES[3])
    assert [(each.entry, each.reason.split()[0]) for each in outcome.dropped] == [
        (ENTRIES[1], "slower"),
        (ENTRIES[2], "wrong"),
    ]


def test_entries_that_the_time_does_not_reach_wait_for_another_start() -> None:
    first = proved([1.2, 1.2, 1.2, 1.2], step=1.0)  # the end is at 2 s: one entry is begun by then
    second = proved([1.2, 1.2, 1.2, 1.2], step=1.0, turn=6)

    assert [each.entry for each in first.dropped] == [ENTRIES[0]]
    assert first.unproved == 3
    assert [each.entry for each in second.dropped] == [ENTRIES[2]]


def test_a_device_that_has_no_room_to_prove_an_entry_does_without() -> None:
    @contextmanager
    def opened(asked: Entry) -> Iterator[Rig]:
        raise DeviceFailed("no room")
        yield

    outcome = recheck.prove(ENTRIES[:1], opened, clock=lambda: 0.0)

    assert outcome.kept == ()
    assert outcome.dropped[0].reason == "no room"


def test_a_document_from_elsewhere_is_read_strictly(backend: OpenCLBackend) -> None:
    start = backend.choices.start.tuning
    made = document(backend.device, start, entry_of(RELU, {"item_group": 64}))
    foreign = msgspec.structs.replace(made, key="0" * 64)

    with capture_logs() as said:
        recheck.take(backend, made.key, entry.encode(foreign))

    assert backend.choices.entries == ()
    assert [line["event"] for line in said] == ["tuned.ignored"]


def test_the_probe_tells_which_kernels_are_tuned(device: Device, cache: Path) -> None:
    start = PROCESSOR if device.worker_class == "gpu-pocl" else CARD
    made = document(device, start, entry_of(RELU, {"item_group": 64}))
    path = Store(cache).write(made)
    try:
        found = probe.describe(GpuSettings(cache=cache, opencl_platform=device.platform))
    finally:
        path.unlink()

    kernels = {kernel["name"]: kernel for kernel in found["kernels"]}  # type: ignore[attr-defined]
    assert all(kernel["built"] and kernel["right"] for kernel in kernels.values())
    assert kernels["relu"]["tuned"] == [
        {"shape": RELU.shape, "values": {"item_group": 64}, "gain": 2.0}
    ]
    assert kernels["add"]["tuned"] == []
    assert set(kernels) == {spec.name for spec in catalog.CATALOG} - {"reshape"}


def test_the_probe_tells_a_wrong_kernel_from_one_that_is_refused(
    device: Device, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(call: Call) -> None:
        raise DeviceFailed("a group of 512")

    monkeypatch.setitem(LAUNCHERS, "add", LAUNCHERS["mul"])
    monkeypatch.setitem(LAUNCHERS, "clip", refused)

    found = probe.describe(GpuSettings(cache=cache, opencl_platform=device.platform))

    kernels = {kernel["name"]: kernel for kernel in found["kernels"]}  # type: ignore[attr-defined]
    assert (kernels["add"]["built"], kernels["add"]["right"]) == (True, False)
    assert "not [" in kernels["add"]["reason"]
    assert (kernels["clip"]["built"], kernels["clip"]["reason"]) == (False, "a group of 512")


def test_a_search_is_told_apart_by_what_it_launches(backend: OpenCLBackend) -> None:
    with closing(DeviceRig(backend, RELU)) as rig:
        assert rig.prepare({}) == rig.prepare({"wrows": 1})  # relu has no rows of a weight
        assert rig.prepare({}) != rig.prepare({"item_group": 64})
        assert 0.0 < rig.time({}) < 1.0
