"""Kernels compiled for the card without the card: registers, local memory, spills.

The figures come from the compiler's own account of each kernel, so they say what fits, not how fast
it runs.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import kernels
from services.gpu_worker import tuning
from services.gpu_worker.launch import blocks
from services.gpu_worker.limits import Limits
from services.gpu_worker.programs import OPTIONS
from shared.operators.catalog import CATALOG

COMPILER = "clang-19"
LIBRARY = Path("/usr/lib/clc/polaris10-amdgcn-mesa-mesa3d.bc")  # OpenCL's functions for this chip
STREAM, TILE = 40, 64  # vector registers: six waves per SIMD hide memory, four feed a tile
CARD = tuning.CARD

Defines = dict[str, int | str]


@dataclass(frozen=True)
class Built:
    """What the compiler says of one kernel."""

    vector_registers: int
    scratch_bytes: int
    local_bytes: int
    spills: int
    group: int
    assembly: str


def block(rows: int, **more: int | str) -> Defines:
    return blocks.defines(CARD, rows) | more


def variants() -> list[tuple[str, str, Defines, int]]:
    """Operator, kernel function, defines and register budget of everything that a card launches."""
    found: list[tuple[str, str, Defines, int]] = []
    for aligned in (1, 0):
        either: Defines = {"ALIGNED": aligned}
        found += [("gemm_f32", "gemm_f32", either, TILE), ("gemm_i8", "gemm_i8", either, TILE)]
        found += [
            ("gemm_f32", "gemm_f32_rows", block(rows, VEC=CARD.vec) | either, STREAM)
            for rows in CARD.xrows
        ]
        found += [
            ("gemm_i8", "gemm_i8_rows", block(rows) | either, STREAM) for rows in CARD.code_xrows
        ]
        found += [
            ("spmm_csr", "spmm_csr", {"VEC": vec} | either, STREAM) for vec in CARD.column_vecs
        ]
        found.append(("stdp_update", "stdp_update", either, STREAM))
    found += [
        ("spmm_csr", "spmm_csr_rows", {"COLUMNS": 0, "LANES": lanes}, STREAM)
        for lanes in CARD.lanes_per_row
    ]
    found += [
        ("transpose", "transpose_matrix", {"MATRIX": 1}, STREAM),
        ("transpose", "transpose", {}, STREAM),
        ("softmax", "softmax", {"LANES": CARD.lanes}, STREAM),
        ("tanh", "tanh_map", {}, STREAM),
    ]
    found += [
        ("cast", "cast", {"FROM": storage, "READ": read}, STREAM)
        for storage, read in (
            ("long", 0),
            ("float", 1),
            ("double", 1),
            ("ushort", 2),
            ("ushort", 3),
        )
    ]
    plain = ("lif_step", "relu", "sigmoid", "clip", "copy", "add", "mul")
    return found + [(name, name, {}, STREAM) for name in plain]


def label(variant: tuple[str, str, Defines, int]) -> str:
    _, entry, defines, _ = variant
    return "-".join((entry, *(f"{key}{value}" for key, value in sorted(defines.items()))))


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which(COMPILER)
    if found is None or not LIBRARY.exists():
        pytest.skip(
            f"{COMPILER} with libclc is not installed: kernels are not checked for gfx803 "
            "(apt-get install clang-19 libclc-19)"
        )
    return found


def build(compiler: str, operator: str, entry: str, defines: Defines, folder: Path) -> Built:
    """Compile one kernel file for the card and read what the compiler says of a kernel in it."""
    source, target = folder / f"{operator}.cl", folder / f"{operator}.s"
    source.write_text(kernels.source(operator))
    command = [compiler, "-x", "cl", *OPTIONS, "-O3", "-target", "amdgcn-amd-amdhsa"]
    command += ["-mcpu=gfx803", "-nogpulib", "-Xclang", "-finclude-default-header"]
    command += ["-Xclang", "-mlink-builtin-bitcode", "-Xclang", str(LIBRARY)]
    command += ["-Wall", "-Wextra", "-Wdouble-promotion", "-Wno-linker-warnings"]
    command += [f"-D{key}={value}" for key, value in defines.items()]
    ended = subprocess.run(
        [*command, "-S", str(source), "-o", str(target)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert "warning:" not in ended.stderr, ended.stderr
    return _read(target.read_text(), entry)


def _read(assembly: str, entry: str) -> Built:
    described = next(
        text for text in assembly.split("  - .args:")[1:] if re.search(rf"\.name: +{entry}\n", text)
    )

    def number(key: str) -> int:
        return int(re.search(rf"\.{key}: +(\d+)", described).group(1))  # type: ignore[union-attr]

    return Built(
        vector_registers=number("vgpr_count"),
        scratch_bytes=number("private_segment_fixed_size"),
        local_bytes=number("group_segment_fixed_size"),
        spills=number("vgpr_spill_count") + number("sgpr_spill_count"),
        group=number("max_flat_workgroup_size"),
        assembly=assembly,
    )


@pytest.mark.parametrize("variant", variants(), ids=label)
def test_kernel_fits_the_card(
    compiler: str, variant: tuple[str, str, Defines, int], tmp_path: Path
) -> None:
    operator, entry, defines, budget = variant

    built = build(compiler, operator, entry, defines, tmp_path)

    assert built.scratch_bytes == 0
    assert built.spills == 0
    assert built.vector_registers <= budget
    Limits().check_kernel(entry, group=built.group, local_bytes=built.local_bytes)
    if operator != "cast":  # 64-bit integers are converted with it, once per element
        assert "v_fma_f32" not in built.assembly  # a quarter of the rate of v_mac here


@pytest.mark.parametrize("operator", ["gemm_f32", "gemm_i8"])
def test_tiles_move_128_bits_at_a_time(compiler: str, operator: str, tmp_path: Path) -> None:
    built = build(compiler, operator, operator, {}, tmp_path)

    assert "flat_load_dwordx4" in built.assembly
    assert "ds_read_b128" in built.assembly
    assert "v_mac_f32" in built.assembly


def test_codes_are_read_16_at_a_time(compiler: str, tmp_path: Path) -> None:
    built = build(compiler, "gemm_i8", "gemm_i8_rows", block(1), tmp_path)

    assert "flat_load_dwordx4" in built.assembly
    assert "flat_load_ubyte" not in built.assembly


def test_every_kernel_of_the_catalogue_is_checked() -> None:
    checked = {operator for operator, *_ in variants()}

    assert checked == {spec.name for spec in CATALOG} - {"reshape"}
