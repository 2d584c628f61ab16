"""Both implementations of the port behind one fixture."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.stack.broker import Broker
from shared.bus import jetstream
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.bus.topology import STREAMS, Topology

Connect = Callable[[str], AbstractAsyncContextManager[Bus]]


@dataclass(frozen=True)
class Settings:
    """What jetstream.connect wants."""

    url: str
    name: str


def connect_memory(topology: Topology) -> Connect:
    broker = MemoryBroker(topology)

    @asynccontextmanager
    async def connect(name: str) -> AsyncIterator[Bus]:
        yield broker.connect(name)

    return connect


def connect_nats(url: str, topology: Topology) -> Connect:
    return lambda name: jetstream.connect(Settings(url, name), topology=topology)


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
def start(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[Topology], Connect]]:
    """Make a broker with a topology; one with limits of its own gets a server of its own."""
    with ExitStack() as servers:

        def begin(topology: Topology) -> Connect:
            if request.param == "memory":
                return connect_memory(topology)
            if topology.streams == STREAMS:
                return connect_nats(request.getfixturevalue("nats_url"), topology)
            return connect_nats(servers.enter_context(Broker(tmp_path / "nats")).url, topology)

        yield begin


@pytest.fixture
def connect(start: Callable[[Topology], Connect]) -> Connect:
    """Connections to a broker with the topology of the suite, but an ack wait of 1 s."""
    return start(Topology(run_ack_wait=1.0))


@pytest.fixture
async def bus(connect: Connect) -> AsyncIterator[Bus]:
    async with connect("first") as bus:
        yield bus


@pytest.fixture
async def other(connect: Connect, bus: Bus) -> AsyncIterator[Bus]:
    async with connect("second") as other:
        yield other


@pytest.fixture
def own() -> str:
    """A token that no other test uses; the real server is shared."""
    return f"t{uuid.uuid4().hex[:12]}"
