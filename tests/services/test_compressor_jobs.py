"""Import and compress as jobs: in-memory bus, the real scheduler, a real CPU worker."""

import anyio
import numpy as np
import pytest

from services.compressor import measure
from services.compressor.handlers import CompressorHandler
from shared.bus.memory import MemoryBroker
from shared.contracts.errors import (
    BlobMissing,
    InvalidNetwork,
    InvalidTensor,
    ModelExists,
    NoWorker,
    UnknownModel,
    UnsupportedOperator,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef, CompressBody, ImportBody, InferBody, JobSubmitted
from shared.tensors import layouts
from tests.services.compressor_house import HELD, LABELS, SCORES, X, network, opened
from tests.services.onnx_files import file, node
from tests.services.worker_house import silent


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
            await house.compress(int8, HELD | {"labels": layouts.dense(np.full(200, 9))})
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

        async with anyio.create_task_group() as group:
            group.start_soon(handler.handle, JobSubmitted(job="c", body=body), HELD, silent)
            await measuring.wait()
            during = await house.artifacts()
            group.cancel_scope.cancel()

        assert len(during) == len(stored) + 1
        assert await house.artifacts() == stored
