"""Devices are chosen by name and say what class they belong to."""

import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.device import Device, NoDevice, open_device, worker_class
from shared.operators.catalog import CATALOG, spec
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType


@pytest.mark.parametrize(
    ("platform", "device", "expected"),
    [
        ("Portable Computing Language", "pthread-AMD Ryzen 9", "gpu-pocl"),
        ("AMD Accelerated Parallel Processing", "Ellesmere", "gpu-gfx803"),
        ("AMD Accelerated Parallel Processing", "gfx803", "gpu-gfx803"),
        ("rusticl", "AMD Radeon RX 580 Series (radeonsi, polaris10, LLVM 19)", "gpu-gfx803"),
        ("NVIDIA CUDA", "NVIDIA H200", "gpu-nvidia"),
        ("Intel(R) OpenCL Graphics", "Intel(R) Arc(TM) A770", "gpu-intel-r-arc-tm-a770"),
        ("Oclgrind", "Oclgrind Simulator", "gpu-oclgrind-simulator"),
        ("Strange", "???", "gpu-unknown"),
    ],
)
def test_class_follows_from_the_names(platform: str, device: str, expected: str) -> None:
    assert worker_class(platform, device) == expected


def test_an_unknown_platform_is_answered_with_the_known_ones(device: Device) -> None:
    with pytest.raises(NoDevice, match=rf"'no such thing'; there are: .*'{device.platform}'"):
        open_device("no such thing")


def test_a_platform_is_found_by_a_part_of_its_name(device: Device) -> None:
    wish = device.platform[2:9].upper()

    assert open_device(wish).platform == device.platform


def test_the_backend_runs_every_operator_of_the_catalogue(backend: OpenCLBackend) -> None:
    assert set(backend.operators) == {entry.name for entry in CATALOG}


def test_a_layout_that_a_port_does_not_take_is_not_supported(backend: OpenCLBackend) -> None:
    matrix = TensorType(Layout.DENSE, Dtype.F32, (4, 4))
    sparse = TensorType(Layout.CSR, Dtype.F32, (4, 4), 3)

    assert backend.supports(spec("spmm_csr"), {"weight": sparse, "x": matrix})
    assert not backend.supports(spec("spmm_csr"), {"weight": matrix, "x": matrix})
    assert not backend.supports(spec("gemm_f32"), {"weight": sparse, "x": matrix})
