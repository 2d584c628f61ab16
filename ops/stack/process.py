"""One child process of the stack: on a leash, in its own session, ended with its own children."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.stack import leash

ROOT = Path(__file__).parents[2]  # where `python -m services.<name>` finds the services
STDERR = 2


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and under which name; `environment` is added to ours."""

    service: str
    label: str  # the service, with a number when it runs more than once
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None  # where it logs; None: to our stderr


class Child:
    """A running program."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self._process = process
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def lived(self) -> float:
        """Seconds since its start [s]."""
        return time.monotonic() - self._started

    async def wait(self) -> int:
        """Wait for its end; negative codes are signals. Its own children are ended with it."""
        code = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        return code

    def ask_to_stop(self) -> None:
        """SIGTERM to the process alone: it ends its own children in its own order."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it and its children at once."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


async def start(program: Program) -> Child:
    """Start a program; it logs to its file or to our stderr, since stdout belongs to the caller.

    An own session, so that Ctrl-C in a terminal reaches us alone and the order of the end is ours.
    """
    with _sink(program) as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid())),
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=ROOT,
            env={**os.environ, **program.environment},
            start_new_session=True,
        )
    return Child(program, process)


@contextlib.contextmanager
def _sink(program: Program) -> Iterator[int]:
    """The file descriptor that a program writes to."""
    if program.log is None:
        yield STDERR
        return
    with program.log.open("ab") as file:
        yield file.fileno()


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
