"""The offline compiler for these tests; without it they are skipped, and say how to get it."""

import pytest

from ops.bench.silicon import compiler


@pytest.fixture(scope="session", autouse=True)
def offline_compiler() -> None:
    try:
        compiler.find()
    except compiler.CompilerMissing as error:
        pytest.skip(f"kernels are not checked for gfx803: {error}")
