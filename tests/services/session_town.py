"""A gateway before workers that hold sessions and can be ended one by one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskStatus

from shared.bus.memory import MemoryBroker
from shared.chassis.watch import Watch
from shared.client.sessions import Session
from shared.contracts import frame, subjects
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import PortSignature, Variant
from shared.contracts.v1.sessions import (
    SessionAnswer,
    SessionCall,
    SessionCard,
)
from shared.network import artifact, shapes
from shared.tensors.layouts import Tensor
from tests.network.streams import INPUTS, STEPS, spiking
from tests.services import gateway_house, session_house


@dataclass
class Town:
    """A gateway, and workers that can be ended one by one."""

    broker: MemoryBroker
    house: gateway_house.House
    stored: BlobRef
    workers: dict[str, tuple[anyio.Event, anyio.Event]] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)

    def session(self, name: str = "s", **options: object) -> Session:
        """A session of the model `spiky` as a client of ours sees it."""
        return self.house.client.session("spiky", name, **options)  # type: ignore[arg-type]  # of Session

    async def hire(self, worker: str) -> None:
        """Start a worker and wait until the gateway knows."""
        await self.house.group.start(self._work, worker)
        await self.house.hire(worker, artifacts=(self.stored.sha256,))

    async def _work(
        self, worker: str, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        asked, gone = self.workers[worker] = (anyio.Event(), anyio.Event())
        watch = self.watches[worker] = Watch()
        async with session_house.serving(self.broker, worker, watch):
            task_status.started()
            await asked.wait()
        gone.set()

    async def show(self) -> None:
        """Show the cards of all workers again and again, as workers do."""
        while True:
            for worker in list(self.workers):
                await self.house.workers[worker].show()
            await anyio.sleep(0.5)

    async def end(self, worker: str) -> None:
        """Let a worker drain, and wait until the gateway knows."""
        asked, gone = self.workers.pop(worker)
        asked.set()
        await gone.wait()
        await self.house.bus.remove(Bucket.WORKERS, worker)
        table = self.house.gateway.tables.table
        await self.house.until(lambda: worker not in table.cards)

    async def holder(self, name: str = "default.s") -> str:
        """The worker on the card of a session."""
        entry = await self.house.bus.get(Bucket.SESSIONS, name)
        assert entry is not None
        assert entry.value is not None
        return SessionCard.decode(entry.value).worker


@asynccontextmanager
async def town(*workers: str) -> AsyncIterator[Town]:
    """A gateway before workers that hold sessions of `spiky`."""
    broker = MemoryBroker()
    async with gateway_house.opened(broker, workers=()) as house:
        stored = await house.bus.put_blob(artifact.pack(spiking()), keep=True)
        made = Town(broker, house, stored)
        for worker in workers or ("cpu-1", "cpu-2"):
            await made.hire(worker)
        variant = Variant(name="dense", artifact=stored, weight_bytes=1)
        ports = (PortSignature(name="x", dtype="f32", shape=(-1, STEPS, INPUTS)),)
        made_of = shapes.infer(spiking(), 1)
        answers = tuple(
            PortSignature(name=name, dtype="f32", shape=(-1, *made_of[name].shape[1:]))
            for name in spiking().outputs
        )
        model = gateway_house.manifest("spiky", variants=(variant,), inputs=ports, outputs=answers)
        await house.put(model, "cpu")
        house.group.start_soon(made.show)
        yield made


async def asked(
    town_: Town, call: SessionCall, tensors: dict[str, Tensor]
) -> tuple[SessionAnswer, dict[str, Tensor]]:
    """One request on the subject of the session."""
    subject = subjects.session("default", "s")
    data = await town_.house.bus.request(subject, frame.encode(call, tensors), timeout=5)
    return frame.decode(data, SessionAnswer)
