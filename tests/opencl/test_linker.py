"""PoCL aborts the process when it cannot link; what is missing is found before and named."""

from pathlib import Path

import pytest

from services.gpu_worker import linker
from services.gpu_worker.linker import LinkerMissing


def fake(folder: Path, words: str, code: int) -> str:
    """A linker that says something and ends."""
    script = folder / "ld"
    script.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit {code}\n")
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def gcc(tmp_path: Path) -> Path:
    for version in ("9", "12", "11.2"):
        folder = tmp_path / "gcc" / "x86_64-linux-gnu" / version
        folder.mkdir(parents=True)
        (folder / "libgcc.a").touch()
    return tmp_path / "gcc"


def test_without_ld_binutils_is_named(gcc: Path) -> None:
    with pytest.raises(LinkerMissing, match="install binutils") as failure:
        linker.check("/nowhere/ld", [gcc])

    assert failure.value.package == "binutils"
    assert failure.value.fix == "apt-get install binutils"


def test_without_libgcc_its_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(LinkerMissing, match="install libgcc-12-dev"):
        linker.check(fake(tmp_path, "", 0), [tmp_path / "empty"])


def test_without_the_c_librarys_files_its_package_is_named(tmp_path: Path, gcc: Path) -> None:
    missing = fake(tmp_path, "ld: cannot find -lc: No such file or directory", 1)

    with pytest.raises(LinkerMissing, match="install libc6-dev") as failure:
        linker.check(missing, [gcc])

    assert "cannot find -lc" in str(failure.value)


def test_a_libgcc_that_the_trial_misses_is_told_from_the_c_library(
    tmp_path: Path, gcc: Path
) -> None:
    missing = fake(tmp_path, "ld: cannot find -lgcc_s: No such file or directory", 1)

    with pytest.raises(LinkerMissing, match="install libgcc-12-dev"):
        linker.check(missing, [gcc])


def test_the_newest_gcc_is_asked(tmp_path: Path, gcc: Path) -> None:
    script = tmp_path / "ld"
    script.write_text('#!/bin/sh\ncase "$*" in *gcc/x86_64-linux-gnu/12*) ;; *) exit 1 ;; esac\n')
    script.chmod(0o755)

    linker.check(str(script), [gcc])


def test_a_linker_that_works_is_left_in_peace(tmp_path: Path, gcc: Path) -> None:
    linker.check(fake(tmp_path, "", 0), [gcc])
