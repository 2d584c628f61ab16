"""A worker in this process: in-memory bus, a handler that does what the test says."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import numpy as np

from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus, Inbound, Stored
from shared.chassis import worker
from shared.chassis.handler import Handler, Outcome, Progress
from shared.chassis.settings import WorkerSettings
from shared.contracts import frame, subjects
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import JobFinished, JobSubmitted, OperatorBody
from shared.contracts.v1.workers import WorkerCard
from shared.tensors import container, layouts
from shared.tensors.layouts import Tensor

CLASS = "cpu"
CARD = WorkerCard(worker="cpu-1", worker_class=CLASS, service="cpu-worker", pid=1, slots=1)
Act = Callable[[], Outcome]


@dataclass
class Script:
    """A handler that performs one act per call, the last one again and again."""

    acts: list[Act]
    kinds: tuple[str, ...] = ("operator",)
    called: list[str] = field(default_factory=list)

    async def handle(
        self, job: JobSubmitted, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Note the call and do the next act."""
        self.called.append(job.job)
        return self.acts[min(len(self.called), len(self.acts)) - 1]()


@dataclass
class Patient:
    """A handler that waits for the test's word, and notes whether it was torn away."""

    kinds: tuple[str, ...] = ("operator",)
    started: anyio.Event = field(default_factory=anyio.Event)
    release: anyio.Event = field(default_factory=anyio.Event)
    torn: bool = False

    async def handle(
        self, job: JobSubmitted, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Wait."""
        self.started.set()
        try:
            await self.release.wait()
        except anyio.get_cancelled_exc_class():
            self.torn = True
            raise
        return Outcome()


def succeed() -> Outcome:
    """Give one small tensor."""
    return Outcome({"y": layouts.dense(np.array([1.0, 2.0], np.float32))})


async def silent(_done: float, _what: str) -> None:
    """Progress that nobody follows."""


def failing(error: Exception) -> Act:
    """Raise."""

    def act() -> Outcome:
        raise error

    return act


def job(name: str = "j1", **changes: object) -> JobSubmitted:
    """An operator job of the tenant `acme`."""
    whole = JobSubmitted(job=name, tenant="acme", body=OperatorBody(operator="relu"))
    return whole.model_copy(update=changes)


@asynccontextmanager
async def working(
    broker: MemoryBroker, handler: Handler, *, name: str = "cpu-1", **settings: object
) -> AsyncIterator[Bus]:
    """A worker for the length of the block, then drained; yields a bus of the test's own."""
    whole = WorkerSettings.model_validate({"retry_delay": 0.0, **settings})
    card = CARD.model_copy(update={"worker": name})
    async with anyio.create_task_group() as group:
        group.start_soon(worker.serve, broker.connect(name), card, handler, whole)
        yield broker.connect("test")
        group.cancel_scope.cancel()


async def place(bus: Bus, whole: JobSubmitted, *, attempt: int = 1, data: bytes = b"") -> bytes:
    """Publish a job as the scheduler does; returns the frame."""
    data = data or frame.encode(whole)
    key = f"{whole.tenant}.{whole.job}"
    headers = {
        "El-Attempt": str(attempt),
        "El-Digest": container.digest(data),
        "El-Job": key,
        "El-Kind": whole.body.kind,
    }
    subject = subjects.run(CLASS, whole.body.kind)
    await bus.publish_once(subject, data, message_id=f"{key}.{attempt}", headers=headers)
    return data


async def ended(bus: Bus, whole: JobSubmitted) -> JobFinished:
    """The record of a job, as soon as there is one."""
    return frame.message_of((await stored_end(bus, whole)).data, JobFinished)


async def stored_end(bus: Bus, whole: JobSubmitted) -> Stored:
    """The stored frame of a job's end, as soon as there is one."""
    subject = subjects.result(whole.tenant, whole.job)
    return await stored(bus, Stream.RESULTS, subject, subjects.done(whole.tenant, whole.job))


async def stored(bus: Bus, stream: Stream, subject: str, sign: str) -> Stored:
    """The newest message of a subject, as soon as there is one; `sign` is published then too."""
    noticed = anyio.Event()

    def notice(_message: Inbound) -> None:
        noticed.set()

    subscription = await bus.subscribe(sign, notice)
    with anyio.fail_after(10):
        while (found := await bus.last(stream, subject)) is None:
            await noticed.wait()
    await subscription.stop()
    return found


async def appears(bus: Bus, bucket: Bucket, key: str) -> None:
    """Return once a key of a bucket has a value."""
    with anyio.fail_after(60):
        async with bus.watch(bucket) as changes:
            async for entry in changes:
                if entry.key == key and entry.value is not None:
                    return


async def pending(broker: MemoryBroker) -> int:
    """Jobs of the class that no worker has finished."""
    return await broker.connect("test").pending(Stream.RUN, CLASS)
