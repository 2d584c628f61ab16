"""What the child has on its desk: tensors by id, and what went wrong in making some of them.

A call is not answered, so its failure waits in the place of its outputs. It is told when one of
them, or what was to be made of them, is fetched, or at the next meeting; it goes when they go.
The arrays of an upload are overwritten soon: a backend must have read them when it returns.
"""

from collections.abc import Callable, Iterator
from typing import Any

from services.gpu_worker.isolation import memory, messages
from services.gpu_worker.isolation.memory import Shared
from services.gpu_worker.isolation.messages import (
    TEXT,
    Adopt,
    Answer,
    Command,
    Drop,
    Failed,
    Fetch,
    Fetched,
    Keep,
    Meet,
    Met,
    Run,
)
from shared.contracts.errors import SuiteError
from shared.operators import catalog
from shared.operators.spec import Backend
from shared.tensors.layouts import Tensor

Done = tuple[Answer, tuple[int, ...]]  # an answer and the descriptors that go with it


class Desk:
    """Does one command at a time on a backend."""

    def __init__(
        self, backend: Backend, inbox: Shared, outbox: Shared, adopt: Callable[[bytes], None]
    ) -> None:
        self._backend = backend
        self._adopt = adopt
        self._inbox = inbox
        self._outbox = outbox
        self._held: dict[int, Any] = {}  # a resident, or the Failed that stands for it
        self._untold: dict[int, Failed] = {}

    def do(self, command: Command, alone: Iterator[Shared]) -> Done | None:
        """Do a command; None when it is not to be answered.

        Args:
            alone: memory that was sent along, in the order of the commands that speak of it.
        """
        match command:
            case Run():
                self._run(command)
            case Keep():
                self._keep(command, next(alone) if command.alone else self._inbox)
            case Drop():
                self._drop(command.ids)
            case Fetch():
                return self._fetch(command.id)
            case Meet():
                return self._meet(device=command.all)
            case Adopt():
                return self._adopt(command.document)
            case _:
                raise AssertionError(command)
        return None

    def _keep(self, command: Keep, where: Shared) -> None:
        try:
            tensor = messages.tensor(command.tensor, where.view)
            self._held[command.id] = self._backend.upload(tensor)
        except Exception as error:  # this is a worker loop: whatever it raises is told
            self._note(_failed(error, command.id), [command.id])

    def _run(self, command: Run) -> None:
        outputs = command.outputs
        try:
            inputs = {port: self._held[id] for port, id in command.inputs.items()}
            for held in inputs.values():
                if isinstance(held, Failed):
                    self._held |= dict.fromkeys(outputs.values(), held)
                    return
            made = self._backend.run(catalog.spec(command.operator), inputs, command.attributes)
            for port, id in outputs.items():
                self._held[id] = made[port]
        except Exception as error:  # as above
            ids = list(outputs.values())
            self._note(_failed(error, ids[0]), ids)

    def _drop(self, ids: tuple[int, ...]) -> None:
        for id in ids:
            held = self._held.pop(id, None)
            self._untold.pop(id, None)
            if held is not None and not isinstance(held, Failed):
                self._backend.release(held)

    def _fetch(self, id: int) -> Done:
        held = self._held.get(id)
        if isinstance(held, Failed):
            return self._tell(held), ()
        try:
            return self._hand_over(self._backend.download(held))
        except Exception as error:  # as above
            return _failed(error, None), ()

    def _hand_over(self, tensor: Tensor) -> Done:
        """Put a tensor where the parent sees it: the outbox, or memory of its own."""
        size = memory.need(tensor)
        self._outbox.reset()
        if size <= self._outbox.size:
            return Fetched(messages.describe(tensor, self._outbox), alone=False), ()
        descriptor = memory.file(size)
        described = messages.describe(tensor, Shared(descriptor, size))
        return Fetched(described, alone=True), (descriptor,)

    def _meet(self, *, device: bool) -> Done:
        if not device:
            return Met(), ()
        try:
            self._backend.synchronize()
        except Exception as error:  # as above
            return _failed(error, None), ()
        if self._untold:
            first = next(iter(self._untold.values()))
            self._untold.clear()
            return first, ()
        return Met(), ()

    def _note(self, failed: Failed, ids: list[int]) -> None:
        self._held |= dict.fromkeys(ids, failed)
        self._untold[ids[0]] = failed

    def _tell(self, failed: Failed) -> Failed:
        if failed.id is not None:
            self._untold.pop(failed.id, None)
        return failed


def _failed(error: Exception, id: int | None) -> Failed:
    invalid = isinstance(error, ValueError) and not isinstance(error, SuiteError)
    return Failed(type(error).__name__, str(error)[:TEXT], id, invalid)
