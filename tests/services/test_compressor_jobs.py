"""Import and compress as jobs: in-memory bus, the real scheduler, a real CPU worker."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import anyio
import numpy as np
import pytest

from services.compressor import measure
from services.compressor.handlers import CompressorHandler
from services.cpu_worker.backend import CpuBackend
from services.scheduler import driver
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import compute, jobs, worker
from shared.chassis.settings import WorkerSettings
from shared.contracts.errors import (
    BlobMissing,
    InvalidNetwork,
    InvalidTensor,
    ModelExists,
    NoWorker,
    UnknownModel,
    UnsupportedOperator,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import (
    BlobRef,
    Body,
    CompressBody,
    ImportBody,
    InferBody,
    JobFinished,
    JobSubmitted,
)
from shared.contracts.v1.models import ModelManifest
from shared.contracts.v1.workers import WorkerCard
from shared.tensors import layouts
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor
from tests.services.onnx_files import file, node

SECONDS = 60.0  # [s] for one job of these tests
RNG = np.random.default_rng(5)
WIDE = RNG.standard_normal((64, 512)).astype(np.float32)
NARROW = RNG.standard_normal((512, 4)).astype(np.float32)
X: F32 = RNG.standard_normal((200, 64)).astype(np.float32)
SCORES = np.maximum(X @ WIDE, 0) @ NARROW
LABELS = SCORES.argmax(axis=1)  # so the network itself is right on every row


def network(*, turned: bool = False) -> bytes:
    """x (batch, 64) -> 512 hidden -> y (batch, 4)."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="wide"),
        node("Relu", ["a"], ["h"]),
        node("MatMul", ["h", "v"], ["y"], name="narrow"),
    ]
    constants = {"w": WIDE, "v": -NARROW if turned else NARROW}
    return bytes(file(nodes, constants, x=("batch", 64)).SerializeToString())


@dataclass(eq=False)
class House:
    """A running stack on one in-memory broker, and a client's connection to it."""

    bus: Bus
    broker: MemoryBroker
    ids: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(
        self, body: Body, tensors: Mapping[str, Tensor] | None = None
    ) -> tuple[JobFinished, dict[str, Tensor]]:
        job = JobSubmitted(job=f"job-{next(self.ids)}", body=body)
        return await jobs.submit_and_wait(self.bus, job, tensors, timeout=SECONDS)

    async def load(self, data: bytes, model: str = "net") -> JobFinished:
        source = await self.bus.put_blob(data)
        return (await self.run(ImportBody(model=model, source=source)))[0]

    async def compress(
        self, body: CompressBody, x: Array = X, labels: Array = LABELS
    ) -> dict[str, object]:
        tensors = {"x": layouts.dense(x), "labels": layouts.dense(labels)}
        return (await self.run(body, tensors))[0].report

    async def manifest(self, model: str = "net") -> ModelManifest:
        entry = await self.bus.get(Bucket.MODELS, model)
        assert entry is not None
        assert entry.value is not None
        return ModelManifest.decode(entry.value)

    async def artifacts(self) -> set[str]:
        """Digests of every stored blob that is not tied to a job."""
        held = await self.bus.history(Stream.BLOBS, "el.v1.blob.>")
        return {stored.subject.split(".")[3] for stored in held}


@contextlib.asynccontextmanager
async def opened(broker: MemoryBroker) -> AsyncIterator[House]:
    """A scheduler, one CPU worker, one compressor; entered and left by the test's own task."""
    own, cpu = broker.connect("compressor-1"), broker.connect("cpu-1")
    async with anyio.create_task_group() as group:
        group.start_soon(driver.lead, broker.connect("scheduler"))
        group.start_soon(compute.serve, cpu, CpuBackend(), *identity("cpu-1", "cpu"))
        card, settings = identity("compressor-1", "compressor")
        group.start_soon(worker.serve, own, card, CompressorHandler(own), settings)
        bus = broker.connect("client")
        await shown(bus, {"cpu-1", "compressor-1"})
        yield House(bus, broker)
        group.cancel_scope.cancel()


def identity(name: str, worker_class: str) -> tuple[WorkerCard, WorkerSettings]:
    card = WorkerCard(worker=name, worker_class=worker_class, service=worker_class, pid=1)
    return card, WorkerSettings(worker=name, grace=0.0)


async def shown(bus: Bus, workers: set[str]) -> None:
    """Return when each worker has shown its card."""
    with anyio.fail_after(SECONDS):
        async with bus.watch(Bucket.WORKERS) as entries:
            async for entry in entries:
                workers.discard(entry.key)
                if not workers:
                    return


async def test_an_imported_file_is_served_with_the_same_numbers(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        finished = await house.load(network())

        manifest = await house.manifest()
        assert [port.shape for port in (*manifest.inputs, *manifest.outputs)] == [(-1, 64), (-1, 4)]
        assert manifest.coverage == {"MatMul": 2, "Relu": 1}
        assert finished.report["artifact"] == manifest.variants[0].artifact.sha256
        _, outputs = await house.run(InferBody(model="net"), {"x": layouts.dense(X[:3])})
        np.testing.assert_allclose(outputs["y"].values, SCORES[:3], rtol=1e-4, atol=1e-4)


async def test_importing_the_same_file_again_changes_nothing(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        first = await house.manifest()

        await house.load(network())

        assert await house.manifest() == first


async def test_another_file_under_the_same_name_is_a_conflict_that_leaves_nothing(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        first = await house.manifest()
        other = network(turned=True)
        source = await house.bus.put_blob(other)
        stored = await house.artifacts()

        with pytest.raises(ModelExists, match="exists with another network"):
            await house.load(other)

        assert await house.manifest() == first
        assert await house.artifacts() == stored | {source.sha256}


async def test_a_broken_or_missing_file_makes_no_model(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        with pytest.raises(InvalidNetwork):
            await house.load(b"not a network")
        with pytest.raises(UnsupportedOperator, match=r"stem \(Conv\)"):
            await house.load(file([node("Conv", ["x"], ["y"], name="stem")]).SerializeToString())
        with pytest.raises(BlobMissing):
            await house.run(ImportBody(model="net", source=BlobRef(sha256="0" * 64, size=4)))

        assert await house.bus.entries(Bucket.MODELS) == []


async def test_an_accepted_variant_joins_the_model_with_its_numbers(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        body = CompressBody(model="net", method="int8", objective="size", max_accuracy_drop=0.1)

        report = await house.compress(body)

        assert report["accepted"] is True
        manifest = await house.manifest()
        variant = manifest.variant("int8")
        assert variant is not None
        assert variant.verdict is not None
        assert variant.verdict.baseline_accuracy == 1.0
        assert variant.verdict.accuracy >= 0.9
        assert variant.weight_bytes < manifest.variants[0].weight_bytes / 3.5
        assert manifest.default == "dense"  # nobody asked for speed
        assert [latency.worker_class for latency in variant.latencies] == ["cpu"]
        assert manifest.variants[0].latencies[0].samples >= 40
        _, outputs = await house.run(
            InferBody(model="net", variant="int8"), {"x": layouts.dense(X)}
        )
        served = float((outputs["y"].values.argmax(axis=1) == LABELS).mean())
        assert served == variant.verdict.accuracy


async def test_a_refused_variant_leaves_the_model_and_the_store_as_they_were(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        first, stored = await house.manifest(), await house.artifacts()
        body = CompressBody(model="net", method="prune_csr", sparsity=0.99, max_accuracy_drop=0.01)

        report = await house.compress(body)

        assert report["accepted"] is False
        assert report["artifact"] is None
        verdict = report["verdict"]
        assert isinstance(verdict, dict)
        assert "accuracy fell by" in verdict["reason"]
        assert await house.manifest() == first
        assert await house.artifacts() == stored


async def test_compressing_again_keeps_one_variant_of_the_name(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        body = CompressBody(model="net", method="int8", objective="size", max_accuracy_drop=0.1)

        first = await house.compress(body)
        second = await house.compress(body)

        assert first["artifact"] == second["artifact"]
        names = [variant.name for variant in (await house.manifest()).variants]
        assert names == ["dense", "int8"]


async def test_a_faster_variant_becomes_the_default(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        real = measure.Bench._measured

        def halved(self, subject, correct, samples, device):  # type: ignore[no-untyped-def]  # a stub
            faster = subject.weight_bytes < 100_000
            return real(self, subject, correct, [1e-3 if faster else 2e-3] * len(samples), device)

        monkeypatch.setattr(measure.Bench, "_measured", halved)

        report = await house.compress(
            CompressBody(model="net", method="int8", max_accuracy_drop=0.1)
        )

        assert report["default"] == "int8"
        assert (await house.manifest()).default == "int8"


async def test_what_cannot_be_compressed_or_judged_is_refused_by_name(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        int8 = CompressBody(model="net", method="int8")

        with pytest.raises(UnknownModel, match="did you mean net"):
            await house.compress(int8.model_copy(update={"model": "nets"}))
        with pytest.raises(InvalidTensor, match="label 9"):
            await house.compress(int8, labels=np.full(200, 9))
        with pytest.raises(InvalidTensor, match="needs tensors"):
            await house.run(int8, {"x": layouts.dense(X)})
        with pytest.raises(InvalidNetwork, match="nothing to compress"):
            await house.compress(CompressBody(model="net", method="prune_csr", sparsity=0.1))


async def test_without_a_worker_of_the_class_there_is_no_verdict(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        with pytest.raises(NoWorker, match="no live worker of class gpu-gfx803; running: cpu"):
            await measure.serving_class(house.bus, "net", "dense", "gpu-gfx803")


async def test_a_cancelled_compression_leaves_no_artifact(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        stored = await house.artifacts()
        measuring = anyio.Event()

        async def stuck(_bench: measure.Bench, _subjects: object) -> list[measure.Measured]:
            measuring.set()
            await anyio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(measure.Bench, "compare", stuck)
        handler = CompressorHandler(house.broker.connect("other"))
        body = CompressBody(model="net", method="int8")
        tensors = {"x": layouts.dense(X), "labels": layouts.dense(LABELS)}

        async def progress(_done: float, _reason: str) -> None:
            return

        async with anyio.create_task_group() as group:
            group.start_soon(handler.handle, JobSubmitted(job="c", body=body), tensors, progress)
            await measuring.wait()
            during = await house.artifacts()
            group.cancel_scope.cancel()

        assert len(during) == len(stored) + 1
        assert await house.artifacts() == stored
