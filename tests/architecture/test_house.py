"""The shape of the house: sizes, names, and one word per operator in every place."""

import ast
import re
from pathlib import Path

import pytest

import kernels
from shared.operators import catalog

ROOT = Path(__file__).parents[2]
SOURCES = [p for d in ("shared", "services", "kernels", "ops") for p in (ROOT / d).rglob("*.py")]
REINTERPRETS = {"reshape"}  # a view of the same bytes needs no kernel
BANNED = re.compile(
    r"(^|_)(utils?|helpers?|common|misc|manager|base|core|advanced|optimized|v2)(_|$)"
)


def launchers() -> set[str]:
    """Keys of the launcher table, read from the source: importing it would need a device."""
    table = ast.parse((ROOT / "services/gpu_worker/launch/table.py").read_text())
    (found,) = [node for node in ast.walk(table) if isinstance(node, ast.Dict)]
    return {key.value for key in found.keys if isinstance(key, ast.Constant)}


def kernel_files() -> set[str]:
    """Families hold operators; what several share lies in the folder above."""
    return {path.stem for path in (ROOT / "kernels").glob("*/*.cl")}


def test_every_kernel_has_a_spec_of_the_same_name() -> None:
    names = {spec.name for spec in catalog.CATALOG}

    assert kernel_files() - names == set()


def test_every_spec_has_a_kernel_unless_it_only_reinterprets() -> None:
    names = {spec.name for spec in catalog.CATALOG}

    assert names - kernel_files() - REINTERPRETS == set()


def test_every_spec_has_a_launcher_and_every_launcher_a_spec() -> None:
    names = {spec.name for spec in catalog.CATALOG}

    assert launchers() == names


@pytest.mark.parametrize("name", sorted(kernel_files()))
def test_kernel_file_defines_its_word_and_explains_its_launch(name: str) -> None:
    text = kernels.source(name)

    assert re.search(rf"__kernel[^;{{]*\b{name}\b\s*\(", text, re.S)
    for heading in ("Shapes:", "Launch:", "Assumes:"):
        assert heading in text
    assert "reqd_work_group_size" in text


@pytest.mark.parametrize("name", sorted(kernel_files()))
def test_no_kernel_needs_what_a_device_may_lack(name: str) -> None:
    """Half is stored with vload_half, which every device has; doubles are asked for first."""
    text = kernels.source(name)

    assert "cl_khr_fp16" not in text
    assert "cl_khr_subgroups" not in text
    assert "cl_khr_fp64" not in text or "#if DOUBLES" in text


def test_operator_names_are_unique_and_have_cases() -> None:
    names = [spec.name for spec in catalog.CATALOG]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_small_enough_to_read(path: Path) -> None:
    text = path.read_text()
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]

    assert text.count("\n") <= 350
    assert long == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(p) for p in SOURCES if BANNED.search(p.stem)] == []


def test_only_subjects_spells_a_subject() -> None:
    breaches = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        if path.name != "subjects.py" and "ops" not in path.relative_to(ROOT).parts[:1]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r'["\']el\.v1\.', line)
    ]

    assert breaches == []


def test_init_files_are_empty() -> None:
    allowed = {ROOT / "kernels/__init__.py"}
    full = [p for p in SOURCES if p.name == "__init__.py" and p not in allowed and p.read_text()]

    assert full == []
