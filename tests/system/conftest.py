"""One stack for all tests of this folder that leave it running."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from shared.client.client import Client
from tests.system import nats_user, networks, processes, traces
from tests.system.nats_user import User
from tests.system.networks import Classifier
from tests.system.processes import Running

MODEL = "classifier"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One GPU worker (or none, where no device works) and two CPU workers."""
    with processes.up(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def network() -> Classifier:
    return networks.classifier(np.random.default_rng(7))


@pytest.fixture(scope="session")
def model(stack: Running, network: Classifier) -> str:
    """The name under which the stack serves the network."""

    async def add() -> None:
        async with Client(stack.grpc) as client:
            await client.add_model(MODEL, network.onnx())

    asyncio.run(add())
    return MODEL


@pytest.fixture
async def unharmed(stack: Running, model: str) -> AsyncIterator[None]:
    """Whatever the test does leaves no model, no lasting blob, no waiting job, no dead process."""
    await traces.drained(stack)
    before = await traces.of(stack)
    yield
    await traces.drained(stack)
    assert await traces.of(stack) == before


@pytest.fixture
async def user(stack: Running) -> AsyncIterator[User]:
    """Somebody who has NATS and nothing of the suite."""
    async with nats_user.connected(stack.nats) as connected:
        yield connected
