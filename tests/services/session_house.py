"""Two workers that hold sessions over one broker in memory, and a way to call them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import anyio
import numpy as np

from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import artifacts, stepping
from shared.chassis.artifacts import Artifacts
from shared.chassis.device import DeviceThread
from shared.chassis.watch import Watch
from shared.contracts import errors, frame, subjects
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.sessions import (
    SessionAnswer,
    SessionCall,
    SessionCard,
    SessionStart,
    SessionWork,
)
from shared.network import artifact, execute
from shared.network.graph import Network
from shared.operators.reference import ReferenceBackend
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense
from tests.network.streams import STEPS, spiking, trains

FIRST, SECOND = "cpu-1", "cpu-2"
X = trains(1, STEPS)
PARTS = np.split(X, [7, 8, 30], axis=1)
WHOLE = execute.load(spiking(), ReferenceBackend()).run({"x": dense(X)})["train"].values
START = SessionStart(model="spiky", ttl=60.0)
NOTHING = dense(np.zeros((0, 3), np.int32))  # events
Made = tuple[SessionAnswer, Mapping[str, Tensor]]


@dataclass
class House:
    """A bus beside the workers, and the network that their sessions run."""

    bus: Bus
    artifact: BlobRef

    async def begin(self, *, session: str = "s", ttl: float = 60.0, worker: str = FIRST) -> None:
        """Begin a session without a step."""
        start = SessionStart(model="spiky", ttl=ttl)
        await self.call(SessionCall(start=start), session=session, worker=worker)

    async def step(self, x: F32, *, worker: str = FIRST, **options: object) -> Made:
        """Some steps of the session `s`."""
        call = SessionCall.model_validate({"type": "sessions.call.v1"} | options)
        return await self.call(call, {"x": dense(x)}, worker=worker)

    async def call(
        self,
        call: SessionCall,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        session: str = "s",
        tenant: str = "default",
        worker: str = FIRST,
        take: bool = False,
    ) -> Made:
        """Ask a worker as a gateway does; raises what its answer names."""
        known = {"variant": "dense", "artifact": self.artifact} if call.start else {}
        work = SessionWork(tenant=tenant, session=session, call=call, take=take, **known)
        data = frame.encode(work, tensors)
        reply = await self.bus.request(subjects.sessions_of_worker(worker), data, timeout=5)
        answer, outputs = frame.decode(reply, SessionAnswer)
        if answer.code:
            raise errors.catalogue()[answer.code](answer.message)
        return answer, outputs

    async def card(self, session: str = "default.s") -> SessionCard | None:
        """The card of a session; None when it has ended."""
        entry = await self.bus.get(Bucket.SESSIONS, session)
        return None if entry is None or entry.value is None else SessionCard.decode(entry.value)


@asynccontextmanager
async def opened(broker: MemoryBroker, network: Network) -> AsyncIterator[House]:
    """Both workers for the length of the block."""
    bus = broker.connect("test")
    stored = await bus.put_blob(artifact.pack(network), keep=True)
    async with serving(broker, FIRST), serving(broker, SECOND):
        yield House(bus, stored)


def spiky() -> AbstractAsyncContextManager[House]:
    """Both workers, and a spiking network for their sessions."""
    return opened(MemoryBroker(), spiking())


@asynccontextmanager
async def serving(
    broker: MemoryBroker, worker: str, watch: Watch | None = None
) -> AsyncIterator[Artifacts]:
    """One worker; it drains where the block ends. `watch`: over its device."""
    device, bus = DeviceThread(ReferenceBackend()), broker.connect(worker)
    async with artifacts.keep(bus, device) as held, anyio.create_task_group() as group:
        group.start_soon(stepping.serve, bus, worker, held, device, watch or Watch())
        with anyio.fail_after(5):
            while not broker.hears(subjects.sessions_of_worker(worker)):
                await anyio.lowlevel.checkpoint()
        yield held
        group.cancel_scope.cancel()
    device.close()
