"""A device proves itself before it serves; one that computes wrongly ends the process."""

from pathlib import Path

import pytest

from services.gpu_worker import probe, selftest, startup
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device
from services.gpu_worker.launch import elementwise
from services.gpu_worker.launch.table import LAUNCHERS
from services.gpu_worker.selftest import WrongAnswer
from services.gpu_worker.settings import GpuSettings
from shared.operators.catalog import CATALOG


def test_a_sound_device_passes_and_keeps_nothing(backend: OpenCLBackend) -> None:
    count = selftest.check(backend)

    assert count == len(CATALOG)
    assert backend.residency.memory.used == 0


def test_a_wrong_result_is_told_with_operator_and_values(
    backend: OpenCLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAUNCHERS, "add", elementwise.mul)

    with pytest.raises(WrongAnswer, match=r"on .* gives \[.*\] for y of case .*, not \["):
        selftest.check(backend)

    assert backend.residency.memory.used == 0


def test_after_warming_no_batch_waits_for_a_build(backend: OpenCLBackend) -> None:
    selftest.warm(backend, backend.batches)
    ready = backend.programs.built_from_source + backend.programs.loaded_from_cache

    selftest.warm(backend, (1, 2, 3, 5, 8, 9, 16, 33))

    assert backend.programs.built_from_source + backend.programs.loaded_from_cache == ready


def test_a_worker_without_a_device_leaves_with_its_own_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = GpuSettings(opencl_platform="no such thing", cache=tmp_path)

    with pytest.raises(SystemExit) as leaving:
        startup.ready(settings)

    assert leaving.value.code == startup.DEVICE_UNUSABLE == 4
    said = "".join(capfd.readouterr())
    assert "device.unusable" in said
    assert "ELLESMERE_OPENCL_PLATFORM" in said


def test_the_probe_names_device_class_and_memory(device: Device, cache: Path) -> None:
    found = probe.describe(GpuSettings(cache=cache, opencl_platform=device.platform))

    said = found["device"]
    assert (said["name"], said["driver"]) == (device.name, device.driver)
    assert (said["class"], said["memory"]) == (device.worker_class, device.limits.memory_bytes)
    assert said["limits"]["group"] == device.limits.group
    assert said["doubles"] is device.doubles
    assert device.platform in found["platforms"]


def test_the_probe_of_no_device_says_how_to_get_one(cache: Path) -> None:
    found = probe.describe(GpuSettings(cache=cache, opencl_platform="no such thing"))

    assert found["error"]["code"] == "EL-1302"
    assert "ELLESMERE_OPENCL_PLATFORM" in found["error"]["fix"]
    assert "device" not in found
