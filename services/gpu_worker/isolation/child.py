"""The child process: owns the device, does what the parent says, in order, until it hangs up.

    python -m services.gpu_worker.isolation.child SOCKET INBOX OUTBOX PARENT_PID MODULE:FUNCTION

The first three are descriptors. A driver that aborts or hangs takes this process along and nothing
else. It never outlives its parent: the kernel kills it then, even inside the driver.
Source: prctl(2), PR_SET_PDEATHSIG.
"""

import ctypes
import faulthandler
import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator

from services.gpu_worker.isolation import messages
from services.gpu_worker.isolation.channel import Channel, Closed
from services.gpu_worker.isolation.desk import Desk
from services.gpu_worker.isolation.memory import Shared
from services.gpu_worker.isolation.messages import TEXT, Answer, Open, Ready, Unusable
from services.gpu_worker.isolation.opening import Opened
from shared.contracts.errors import DeviceFailed, SuiteError

PR_SET_PDEATHSIG = 1
Opener = Callable[[str], Opened]


def main(arguments: list[str]) -> None:
    """Serve one parent to its end."""
    socket, inbox, outbox, parent = map(int, arguments[:4])
    leash(parent)
    faulthandler.enable()  # an abort says where it came from, in the worker's log
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # and leaves no image of a card's memory
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which ends us in time
        signal.signal(number, signal.SIG_IGN)
    channel = Channel.inherited(socket)
    memories = Shared.of(inbox), Shared.of(outbox)
    try:
        serve(channel, *memories, opener(arguments[4]))
    except Closed:
        return


def leash(parent: int) -> None:
    """Die with the parent, however it dies; at once when it is already gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def opener(name: str) -> Opener:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    found: Opener = getattr(importlib.import_module(module), function)
    return found


def serve(channel: Channel, inbox: Shared, outbox: Shared, opener: Opener) -> None:
    """Open the device as the first packet says, then work through every packet.

    Raises:
        Closed: the parent has hung up.
    """
    first, _ = channel.receive()
    (command,) = messages.commands(first)
    assert isinstance(command, Open)  # the parent is our own code
    told, opened = _try(opener, command)
    channel.send(messages.encode(told))
    if opened is None:
        return
    gc.freeze()  # what was imported and built stays: no collection need walk it again
    desk = Desk(opened.backend, inbox, outbox, opened.adopt)
    while True:
        packet, descriptors = channel.receive()
        for answer, attached in _answers(desk, packet, descriptors):
            channel.send(messages.encode(answer), attached)
            for descriptor in attached:
                os.close(descriptor)


def _try(opener: Opener, command: Open) -> tuple[Ready | Unusable, Opened | None]:
    try:
        opened = opener(command.settings)
    except SuiteError as error:
        final = isinstance(error, DeviceFailed) and not error.retryable
        return Unusable(error.code, str(error)[:TEXT], error.fix, final), None
    return opened.ready, opened


def _answers(
    desk: Desk, packet: bytes, descriptors: tuple[int, ...]
) -> Iterator[tuple[Answer, tuple[int, ...]]]:
    """Do the commands of a packet; the few that are to be answered yield."""
    alone = map(Shared.of, descriptors)
    for command in messages.commands(packet):
        if (done := desk.do(command, alone)) is not None:
            yield done


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # a driver may hang while it is taken down
