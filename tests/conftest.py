"""Fixtures that every test may ask for."""

from collections.abc import Iterator

import numpy as np
import pytest

from ops.stack.broker import Broker
from shared.bus.memory import MemoryBroker


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on a port of its own, shared by the session: use names of your own on it."""
    with Broker(tmp_path_factory.mktemp("nats")) as broker:
        yield broker.url


@pytest.fixture
def memory() -> MemoryBroker:
    """A broker in this process."""
    return MemoryBroker()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240917)
