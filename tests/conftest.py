"""Fixtures that every test may ask for."""

from collections.abc import Iterator
from contextlib import suppress

import hypothesis
import numpy as np
import pytest
import structlog

from ops.stack.broker import Broker
from services.cpu_worker import engine, kernel_cache
from services.cpu_worker.engine import Engine
from shared.bus.memory import MemoryBroker
from shared.chassis.settings import CpuSettings

# No test is timed: neighbours may take most of the machine while an example runs.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

# Drawn with all its variables, a traceback takes seconds of a busy machine.
plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])

# Tests import kernels by themselves, and numba asks then where they are kept.
with suppress(ImportError, OSError):
    kernel_cache.use(kernel_cache.folder(CpuSettings().cache))


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on a port of its own, shared by the session: use names of your own on it."""
    with Broker(tmp_path_factory.mktemp("nats")) as broker:
        yield broker.url


@pytest.fixture
def memory() -> MemoryBroker:
    """A broker in this process."""
    return MemoryBroker()


@pytest.fixture(scope="session")
def kernels() -> Engine:
    """Compiled kernels for one thread, from the folder that `make setup` filled."""
    found = engine.start(CpuSettings().cache)
    if not found.compiled:
        pytest.skip(f"no compiled kernels: {found.reason}")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240917)
