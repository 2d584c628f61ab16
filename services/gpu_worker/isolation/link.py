"""The parent's hand on one child: commands go out in packets, answers come within a time limit."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from services.gpu_worker.isolation import memory, messages
from services.gpu_worker.isolation.channel import Channel, Closed
from services.gpu_worker.isolation.memory import Shared
from services.gpu_worker.isolation.messages import (
    Answer,
    Command,
    Drop,
    Failed,
    Fetch,
    Fetched,
    Keep,
    Meet,
    Open,
    Ready,
    Unusable,
)
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor

CHILD = "services.gpu_worker.isolation.child"
ROOT = Path(__file__).parents[3]  # where `python -m services.<name>` finds the services
AREA = 8 * 2**20  # [bytes] of shared memory each way; pages are taken as they are first written
LARGE = AREA // 4  # [bytes] a larger tensor gets memory of its own
BATCH = 32  # commands of one packet
OPEN_SECONDS = 180.0  # [s] at least for opening: a new driver compiles every kernel
END_SECONDS = 2.0  # [s] a child may take to end by itself


class Gone(Exception):
    """The child has ended, or was ended because it did not answer."""


class Link:
    """One child and the ways to it. One thread at a time may use it; `kill` may come from any."""

    def __init__(self, opener: str, number: int) -> None:
        """Start a child. It dies with the thread that starts it.

        Args:
            opener: `module:function` that opens the device; see `opening.opened`.
            number: tells this child from those before it.
        """
        self.number = number
        self._waiting: list[Command] = []
        self._patience = 0.0
        self._hung = ""
        self._channel, theirs = Channel.pair()
        inbox, outbox = memory.file(AREA), memory.file(AREA)
        passed = (theirs.fileno(), inbox, outbox)
        try:
            self._inbox, self._outbox = Shared(inbox, AREA), Shared(outbox, AREA)
            self._process = subprocess.Popen(
                [sys.executable, "-m", CHILD, *map(str, passed), str(os.getpid()), opener],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        finally:
            theirs.close()
            os.close(inbox)
            os.close(outbox)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def open(self, settings: str, patience: float) -> Ready | Unusable:
        """Let the child open and prove its device; every later answer has `patience` seconds.

        Raises:
            Gone: it ended, or took too long.
        """
        self._allow(max(patience, OPEN_SECONDS))
        answer, _ = self.ask(Open(settings))
        self._allow(patience)
        if not isinstance(answer, Ready | Unusable):
            raise self._ended(f"it began with {type(answer).__name__}")
        return answer

    def post(self, command: Command) -> None:
        """Have a command done some time before the next question is answered; raises Gone."""
        self._waiting.append(command)
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was posted; raises Gone."""
        if self._waiting:
            ready, self._waiting = self._waiting, []
            self._send(ready)

    def keep(self, id: int, tensor: Tensor) -> None:
        """Have a tensor copied to the device; its arrays may change afterwards. Raises Gone."""
        size = memory.need(tensor)
        if size > LARGE:
            self._keep_alone(id, tensor, size)
            return
        if size > self._inbox.free:
            self.ask(Meet(all=False))
        self._waiting.append(Keep(id, messages.describe(tensor, self._inbox), alone=False))
        self.flush()  # the child copies while we prepare the calls

    def ask(
        self, command: Command, then: tuple[Command, ...] = ()
    ) -> tuple[Answer, tuple[int, ...]]:
        """Have a command done after all before it; its answer, and what descriptors came along.

        Args:
            then: done after the answer was sent; it is not waited for.

        Raises:
            Gone: the child ended, or did not answer in time and was ended.
        """
        self._waiting += (command, *then)
        self.flush()
        try:
            packet, descriptors = self._channel.receive()
            answer = messages.answer(packet)
        except TimeoutError:
            raise self._gave_up() from None
        except (Closed, messages.Unreadable) as error:
            raise self._ended(str(error)) from None
        self._inbox.reset()  # all that was in it has been read
        return answer, descriptors

    def fetch(self, id: int, drop: tuple[int, ...] = ()) -> Tensor | Failed:
        """A tensor in host memory, or why there is none; others are freed then. Raises Gone."""
        answer, descriptors = self.ask(Fetch(id), (Drop(drop),) if drop else ())
        if isinstance(answer, Failed):
            return answer
        if not isinstance(answer, Fetched):
            raise self._ended(f"a tensor was answered by {type(answer).__name__}")
        if answer.alone:
            return messages.tensor(answer.tensor, Shared.of(descriptors[0]).view)
        return _copied(messages.tensor(answer.tensor, self._outbox.view))

    def kill(self) -> None:
        """End the child at once, whatever it does."""
        self._process.kill()

    def wait(self) -> str:
        """Wait for the child's end; says how it came."""
        code = self._process.wait()
        return self._hung or describe(code)

    def close(self) -> None:
        """Hang up; the child ends by itself, or is ended."""
        self._channel.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for area in (self._inbox, self._outbox):
            with contextlib.suppress(BufferError):  # an exception's frames look at it: it goes then
                area.close()

    def _keep_alone(self, id: int, tensor: Tensor, size: int) -> None:
        self.flush()
        descriptor = memory.file(size)
        try:
            described = messages.describe(tensor, Shared(descriptor, size))
            self._send([Keep(id, described, alone=True)], (descriptor,))
        finally:
            os.close(descriptor)

    def _send(self, commands: list[Command], descriptors: tuple[int, ...] = ()) -> None:
        try:
            self._channel.send(messages.encode(commands), descriptors)
        except TimeoutError:
            raise self._gave_up() from None
        except Closed as error:
            raise self._ended(str(error)) from None

    def _allow(self, seconds: float) -> None:
        self._patience = seconds
        self._channel.limit(seconds)

    def _gave_up(self) -> Gone:
        self._hung = f"did not answer within {self._patience:g} s and was ended"
        self.kill()
        return Gone(f"the device's process (pid {self.pid}) {self._hung}")

    def _ended(self, why: str) -> Gone:
        self.kill()  # it may live and talk nonsense
        return Gone(f"the device's process (pid {self.pid}) is gone: {why}")


def describe(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _copied(tensor: Tensor) -> Tensor:
    """The same tensor in memory of its own."""
    parts: dict[str, Array] = {name: array.copy() for name, array in tensor.parts.items()}
    return Tensor(tensor.layout, tensor.dtype, tensor.shape, parts)
