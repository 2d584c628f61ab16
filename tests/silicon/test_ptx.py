"""The same kernels for NVIDIA's instruction set: they compile, and hold what is launched."""

import pytest

from ops.bench.silicon import compiler, report
from ops.bench.silicon.configuration import Configuration


@pytest.mark.parametrize("configuration", report.configurations(), ids=lambda found: found.label)
def test_kernel_compiles_to_ptx(configuration: Configuration) -> None:
    made = report.assembled(compiler.PTX)[configuration.label]

    assert isinstance(made, str), made
    assert f".entry {configuration.entry}(" in made
    assert ".local " not in made  # the memory that spilled registers and indexed arrays go to
