"""An OpenCL device for these tests; without one they are skipped, and say why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gpu_worker import tuning
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device, open_device
from services.gpu_worker.limits import Limits
from shared.contracts.errors import DeviceFailed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.opencl)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled programs of this run: a kernel is built once for all tests."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="session")
def device(cache: Path) -> Device:
    try:
        return open_device(cache=cache)
    except DeviceFailed as error:
        pytest.skip(f"no OpenCL device: {error}")


@pytest.fixture
def backend(device: Device, cache: Path) -> Iterator[OpenCLBackend]:
    """A backend of its own for each test, so that its counts start at zero."""
    backend = OpenCLBackend(device, cache)
    yield backend
    backend.synchronize()


@pytest.fixture(scope="module")
def card(device: Device, cache: Path) -> OpenCLBackend:
    """The device with kernels as a card launches them, whatever it is."""
    return OpenCLBackend(device, cache, tuning.CARD)


@pytest.fixture
def small(device: Device, cache: Path) -> OpenCLBackend:
    """The same device as if it had 1 MiB of memory and buffers of 256 KiB."""
    limits = Limits(memory_bytes=2**20, buffer_bytes=2**18)
    return OpenCLBackend(device.limited(limits), cache)
