"""Programs are built once, kept on disk, and rebuilt when what is on disk is no good."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kernels
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.binaries import BinaryCache
from services.gpu_worker.device import Device
from services.gpu_worker.programs import OPTIONS, BuildFailed
from shared.operators.catalog import spec
from shared.tensors.layouts import dense


def relu(backend: OpenCLBackend) -> list[float]:
    x = backend.upload(dense(np.array([-1.0, 2.0], np.float32)))
    y = backend.run(spec("relu"), {"x": x}, {})["y"]
    return list(backend.download(y).values)


def test_second_process_loads_what_the_first_one_built(device: Device, tmp_path: Path) -> None:
    first, second = OpenCLBackend(device, tmp_path), OpenCLBackend(device, tmp_path)

    answers = relu(first), relu(second)

    assert answers == ([0.0, 2.0], [0.0, 2.0])
    assert (first.programs.built_from_source, first.programs.loaded_from_cache) == (1, 0)
    assert (second.programs.built_from_source, second.programs.loaded_from_cache) == (0, 1)


def test_readers_see_a_whole_binary_while_two_writers_replace_it(tmp_path: Path) -> None:
    cache, binaries = BinaryCache(tmp_path), [bytes([place]) * 2**16 for place in range(4)]
    cache.put("key", binaries[0])

    def write(binary: bytes) -> None:
        for _ in range(50):
            BinaryCache(tmp_path).put("key", binary)

    with ThreadPoolExecutor(2) as writers:
        written = [writers.submit(write, binary) for binary in binaries]
        seen = {cache.get("key")}
        while not all(one.done() for one in written):
            seen.add(cache.get("key"))

    assert all(one.exception() is None for one in written)
    assert seen <= set(binaries)
    assert [file.name for file in tmp_path.iterdir()] == ["key.clbin"]  # no partial file is left


@pytest.mark.parametrize("damage", [b"", b"not a binary", b"ELCLBIN1" + bytes(40)])
def test_a_damaged_entry_is_rebuilt_and_replaced(
    device: Device, tmp_path: Path, damage: bytes
) -> None:
    relu(OpenCLBackend(device, tmp_path))
    (entry,) = (tmp_path / "programs").glob("*.clbin")
    entry.write_bytes(damage)

    again, third = OpenCLBackend(device, tmp_path), OpenCLBackend(device, tmp_path)
    answers = relu(again), relu(third)

    assert answers == ([0.0, 2.0], [0.0, 2.0])
    assert again.programs.built_from_source == 1
    assert third.programs.loaded_from_cache == 1


def test_a_binary_that_the_driver_refuses_is_rebuilt(device: Device, tmp_path: Path) -> None:
    backend = OpenCLBackend(device, tmp_path)
    key = backend.programs.key("relu", OPTIONS)
    BinaryCache(tmp_path / "programs").put(key, b"whole, but of no driver")

    answer = relu(backend)

    assert answer == [0.0, 2.0]
    assert backend.programs.built_from_source == 1


def test_a_cache_that_cannot_be_written_only_costs_time(device: Device, tmp_path: Path) -> None:
    (tmp_path / "programs").write_text("a file where the folder should be")
    backend = OpenCLBackend(device, tmp_path)

    answer = relu(backend)

    assert answer == [0.0, 2.0]


def test_a_program_is_built_once_for_one_set_of_defines(backend: OpenCLBackend) -> None:
    programs = backend.programs

    same = programs.kernel("relu", {"GROUP": 64}) is programs.kernel("relu", {"GROUP": 64})

    assert same
    assert programs.kernel("relu", {"GROUP": 64}) is not programs.kernel("relu", {"GROUP": 128})


def test_a_failed_build_names_kernel_options_and_the_compilers_words(
    backend: OpenCLBackend,
) -> None:
    with pytest.raises(BuildFailed, match=r"relu with .*-DGROUP=many") as failure:
        backend.programs.kernel("relu", {"GROUP": "many"})

    assert "many" in str(failure.value).split("\n", 1)[1]


def test_every_kernel_has_text_and_a_digest_of_its_own() -> None:
    digests = {kernels.digest(name) for name in kernels.NAMES}

    assert len(digests) == len(kernels.NAMES)


@pytest.mark.parametrize("name", ["gemm_f32", "gemm_i8"])
def test_the_prelude_of_a_kernel_is_part_of_it_and_lines_keep_their_numbers(name: str) -> None:
    (path,) = Path(kernels.__file__).parent.rglob(f"{name}.cl")
    written = path.read_text().splitlines()

    lines = kernels.source(name).splitlines()  # the digest is taken of it

    *_, mark = (place for place, line in enumerate(lines) if line.endswith(f'"{name}.cl"'))
    number = int(lines[mark].split()[1])
    assert lines[mark + 1 :] == written[number - 1 :]
    assert written[number - 2] == '#include "prelude.cl"'
    assert sum(line.startswith("static float4 fetch(") for line in lines) == 1


def test_an_unknown_kernel_is_named() -> None:
    with pytest.raises(ValueError, match="no kernel is called 'gemm'"):
        kernels.source("gemm")
