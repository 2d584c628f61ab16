"""A house in one process around the compressor: scheduler, a real CPU worker, a network to load."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import numpy as np

from services.compressor.handlers import CompressorHandler
from services.cpu_worker.backend import CpuBackend
from services.scheduler import driver
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import compute, jobs, worker
from shared.chassis.settings import WorkerSettings
from shared.contracts import subjects
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import Body, CompressBody, ImportBody, JobFinished, JobSubmitted
from shared.contracts.v1.models import ModelManifest
from shared.contracts.v1.recipes import Recipe, Stage
from shared.contracts.v1.workers import WorkerCard
from shared.tensors import layouts
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor
from tests.services.onnx_files import file, node
from tests.services.worker_house import appears

SECONDS = 60.0  # [s] for one job of these tests
RNG = np.random.default_rng(5)
WIDE = RNG.standard_normal((64, 512)).astype(np.float32)
NARROW = RNG.standard_normal((512, 4)).astype(np.float32)
X: F32 = RNG.standard_normal((200, 64)).astype(np.float32)
SCORES = np.maximum(X @ WIDE, 0) @ NARROW
LABELS = SCORES.argmax(axis=1)  # so the network itself is right on every row
HELD = {"x": layouts.dense(X), "labels": layouts.dense(LABELS)}
LEARNED = {"train_x": layouts.dense(X), "train_labels": layouts.dense(LABELS)}
ROWS = HELD | LEARNED


def network(*, turned: bool = False) -> bytes:
    """x (batch, 64) -> 512 hidden -> y (batch, 4)."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="wide"),
        node("Relu", ["a"], ["h"]),
        node("MatMul", ["h", "v"], ["y"], name="narrow"),
    ]
    constants = {"w": WIDE, "v": -NARROW if turned else NARROW}
    return bytes(file(nodes, constants, x=("batch", 64)).SerializeToString())


def compressing(*given: Stage, **changes: object) -> CompressBody:
    """Small by a recipe of these stages, whatever that costs in accuracy."""
    recipe = Recipe(stages=given) if given else None
    body = CompressBody(model="net", recipe=recipe, objective="size", max_accuracy_drop=1.0)
    return body.model_copy(update=changes)


@dataclass(eq=False)
class House:
    """A running stack on one in-memory broker, and a client's connection to it."""

    bus: Bus
    broker: MemoryBroker
    ids: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(
        self, body: Body, tensors: Mapping[str, Tensor] | None = None
    ) -> tuple[JobFinished, dict[str, Tensor]]:
        """The record and the outputs of one job."""
        job = JobSubmitted(job=f"job-{next(self.ids)}", body=body)
        return await jobs.submit_and_wait(self.bus, job, tensors, timeout=SECONDS)

    async def load(self, data: bytes, model: str = "net") -> JobFinished:
        """Import an ONNX file as a model."""
        source = await self.bus.put_blob(data)
        return (await self.run(ImportBody(model=model, source=source)))[0]

    async def compress(
        self, body: CompressBody, tensors: Mapping[str, Tensor] = HELD
    ) -> dict[str, object]:
        """The report of a compress job."""
        return (await self.run(body, tensors))[0].report

    async def manifest(self, model: str = "net") -> ModelManifest:
        """What is stored of a model now."""
        entry = await self.bus.get(Bucket.MODELS, model)
        assert entry is not None
        assert entry.value is not None
        return ModelManifest.decode(entry.value)

    async def artifacts(self) -> set[str]:
        """Digests of every stored blob that is not tied to a job."""
        held = await self.bus.history(Stream.BLOBS, "el.v1.blob.>")
        return {stored.subject.split(".")[3] for stored in held}

    async def cancelled(
        self, body: Body, tensors: Mapping[str, Tensor], told: bytes = b"loss"
    ) -> JobFinished:
        """The record of a job that is withdrawn as soon as it tells of a loss, or of what else."""
        job = JobSubmitted(job=f"job-{next(self.ids)}", body=body)
        begun = anyio.Event()
        await self.bus.subscribe(
            subjects.event(job.tenant, job.job, "progress"),
            lambda message: begun.set() if told in message.data else None,
        )
        await jobs.submit(self.bus, job, tensors)
        with anyio.fail_after(SECONDS):
            await begun.wait()
        await jobs.withdraw(self.bus, job)
        return await jobs.wait(self.bus, job, timeout=SECONDS)

    async def forget(self) -> None:
        """Remove what is remembered of stages and runs."""
        for entry in await self.bus.entries(Bucket.CONTROL):
            await self.bus.remove(Bucket.CONTROL, entry.key)


@asynccontextmanager
async def opened(broker: MemoryBroker) -> AsyncIterator[House]:
    """A scheduler, one CPU worker, one compressor; entered and left by the test's own task."""
    own, cpu = broker.connect("compressor-1"), broker.connect("cpu-1")
    async with anyio.create_task_group() as group:
        group.start_soon(driver.lead, broker.connect("scheduler"))
        group.start_soon(compute.serve, cpu, CpuBackend(), *identity("cpu-1", "cpu"))
        card, settings = identity("compressor-1", "compressor")
        group.start_soon(worker.serve, own, card, CompressorHandler(own), settings)
        bus = broker.connect("client")
        for name in ("cpu-1", "compressor-1"):
            await appears(bus, Bucket.WORKERS, name)
        yield House(bus, broker)
        group.cancel_scope.cancel()


def identity(name: str, worker_class: str) -> tuple[WorkerCard, WorkerSettings]:
    """A worker's card, and settings under which it leaves at once."""
    card = WorkerCard(worker=name, worker_class=worker_class, service=worker_class, pid=1)
    return card, WorkerSettings(worker=name, grace=0.0)
