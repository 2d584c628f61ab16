"""Kernels are compiled by processes of their own; their last words say why there are none."""

from pathlib import Path

import pytest

from services.cpu_worker import kernel_cache
from services.cpu_worker.kernel_cache import CompilingFailed


@pytest.fixture(autouse=True)
def nobody_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only family is one that the compiling process does not know."""
    monkeypatch.setattr(kernel_cache, "FAMILIES", ("nothing",))


def test_what_a_compiling_process_says_last_is_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CompilingFailed, match=r"compiling ended with code 1: KeyError: 'nothing'"):
        kernel_cache.ensure(tmp_path, threads=1)

    assert not list(tmp_path.glob("tried-*"))  # the next worker tries again


def test_compiling_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_cache, "PATIENCE", 0.0)

    with pytest.raises(CompilingFailed, match="compiling took over 0 s"):
        kernel_cache.ensure(tmp_path, threads=2)
