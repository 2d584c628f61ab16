"""One stack for all tests of this folder that leave it running."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from shared.client.client import Client
from tests.system import networks, processes
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
