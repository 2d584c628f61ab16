"""A stack as a person starts it: the command, its one line, its log, its end."""

import asyncio
import contextlib
import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

COMMAND = (sys.executable, "-m", "ops.cli")
ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """`ellesmere up`, ready."""

    process: subprocess.Popen[bytes]
    ready: dict[str, object]
    log: Path

    @property
    def grpc(self) -> str:
        """Address of the gateway."""
        return str(self.ready["grpc"])

    @property
    def nats(self) -> str:
        """Address of the broker."""
        return str(self.ready["nats"])

    def pids(self, service: str) -> list[int]:
        """Process ids as the line told them."""
        pids = self.ready["pids"]
        assert isinstance(pids, dict)
        return list(pids[service])

    def family(self) -> list[psutil.Process]:
        """Every process of the stack, the command included, also those that no line names."""
        head = psutil.Process(self.process.pid)
        return [head, *head.children(recursive=True)]

    def running(self, word: str) -> list[int]:
        """Ids of the processes that run a module or a program now, whatever the line told."""
        return [process.pid for process in self.family() if word in _arguments(process)]

    async def one(self, service: str) -> int:
        """Process id of a service now: another test may have ended the first one."""
        word = "nats-server" if service == "nats" else f"services.{service.replace('-', '_')}"
        await until(lambda: self.running(word))
        return self.running(word)[0]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


def _arguments(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was found
        program, *arguments = process.cmdline() or [""]
        return [Path(program).name, *arguments]
    return []


@contextmanager
def up(folder: Path, *options: str) -> Iterator[Running]:
    """A stack with its data in `folder`; ended with all its processes when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "up.log"
    command = [*COMMAND, "up", "--ports", "auto", "--data", str(folder / "data"), *options]
    with log.open("ab") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT)
    try:
        yield Running(process, _ready(process, log), log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.communicate()


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if readable else b""
    if not line:
        process.kill()
        raise AssertionError(f"the stack did not start:\n{log.read_text()[-4000:]}")
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


async def until(holds: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait for other processes: they have no event of ours to set."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - polls the outside
            await asyncio.sleep(0.02)


def command(*arguments: str, address: str) -> subprocess.CompletedProcess[str]:
    """One call of the command line against a stack."""
    full = [*COMMAND, *arguments, "--address", address]
    return subprocess.run(full, capture_output=True, text=True, timeout=90, check=False, cwd=ROOT)
