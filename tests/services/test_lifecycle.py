"""The shell of a process: who is told to stop, and with which exit code it leaves."""

import asyncio
import os
import signal
import sys

import anyio
import pytest

from shared.bus import jetstream
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import lifecycle
from shared.chassis.lifecycle import CRASHED, OK, UNAVAILABLE, Stop
from shared.chassis.settings import BusSettings, WorkerSettings, address, load
from shared.contracts.errors import DeviceFailed
from shared.contracts.subjects import Bucket
from tests.services.worker_house import appears

SETTINGS = BusSettings(worker="w-1")


async def forever(bus: Bus, settings: BusSettings) -> None:
    """Serve until cancelled."""
    await anyio.sleep_forever()


async def test_a_service_that_is_told_to_stop_cleans_up_on_a_living_bus(
    memory: MemoryBroker,
) -> None:
    stop = Stop(anyio.CancelScope())
    serving = anyio.Event()

    async def serve(bus: Bus, settings: BusSettings) -> None:
        try:
            serving.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await bus.put(Bucket.WORKERS, "w-1", b"left")

    async def tell() -> None:
        await serving.wait()
        stop.scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(tell)
        code = await lifecycle.supervise(memory.connect("w-1"), serve, SETTINGS, stop)

    entry = await memory.connect("test").get(Bucket.WORKERS, "w-1")
    assert code == OK
    assert entry is not None
    assert entry.value == b"left"


async def test_a_service_leaves_when_its_bus_is_closed_for_good(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_end_by_force", lambda seconds, code: None)
    stop = Stop(anyio.CancelScope())

    async with anyio.create_task_group() as group:
        group.start_soon(close, memory)
        code = await lifecycle.supervise(memory.connect("w-1"), forever, SETTINGS, stop)

    assert code == UNAVAILABLE


async def close(broker: MemoryBroker) -> None:
    broker.close()


async def test_an_error_of_a_service_becomes_an_exit_code(memory: MemoryBroker) -> None:
    async def serve(bus: Bus, settings: BusSettings) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)

    async def fail() -> None:
        raise DeviceFailed("no device")

    stop = Stop(anyio.CancelScope())
    code = await lifecycle.supervise(memory.connect("w-1"), serve, SETTINGS, stop)

    assert code == CRASHED


@pytest.mark.nats
async def test_a_worker_process_shows_its_card_and_stops_cleanly_on_sigterm(
    nats_url: str,
) -> None:
    settings = BusSettings(nats_url=nats_url, worker="lifecycle-test")
    environment = {
        **os.environ,
        "ELLESMERE_NATS_URL": nats_url,
        "ELLESMERE_WORKER": "lifecycle-1",
        "ELLESMERE_WORKER_CLASS": "cpu-lifecycle",
    }
    async with jetstream.connect(settings) as bus, asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.cpu_worker", env=environment
        )
        await appears(bus, Bucket.WORKERS, "lifecycle-1")
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        left = await bus.get(Bucket.WORKERS, "lifecycle-1")

    assert code == OK
    assert left is None


def test_a_name_is_made_one_token_of_service_host_and_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ELLESMERE_WORKER", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: "node.7.example")

    name = load(WorkerSettings).of("cpu-worker").name

    assert name == f"cpu-worker-node-7-example-{os.getpid()}"


def test_a_setting_that_does_not_parse_ends_the_process_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELLESMERE_SLOTS", "many")

    with pytest.raises(SystemExit) as left:
        load(WorkerSettings)

    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("ELLESMERE_SLOTS='many': ")


@pytest.mark.parametrize("text", ["gateway", "gateway:", "gateway:65536", "http://gateway:1", "1"])
def test_an_address_needs_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        address(text)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELLESMERE_WORKER_CLASS", "")

    assert load(WorkerSettings).worker_class is None
