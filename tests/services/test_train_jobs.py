"""Training as jobs: in-memory bus, the real scheduler, real CPU workers."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.chassis import jobs, training
from shared.contracts import subjects
from shared.contracts.errors import (
    BlobMissing,
    InvalidMessage,
    InvalidTensor,
    JobCancelled,
    TrainingDiverged,
    UnknownModel,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef, InferBody, JobFinished, JobSubmitted, TrainBody
from shared.contracts.v1.training import SparseTraining
from shared.network import artifact, observing
from shared.network.training import state
from shared.tensors import layouts
from shared.tensors.layouts import Layout, Tensor
from tests.services.compressor_house import (
    LABELS,
    LEARNED,
    ROWS,
    SECONDS,
    House,
    X,
    network,
    opened,
)

RIGL = SparseTraining(method="rigl", sparsity=0.9, every=2)
BODY = TrainBody(model="net", epochs=3, batch=32, fresh=True, variant="rigl90", sparse=RIGL)


async def test_a_trained_variant_joins_the_model_and_is_served(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        finished, _ = await house.run(BODY, ROWS)

        report = finished.report
        manifest = await house.manifest()
        assert [variant.name for variant in manifest.variants] == ["dense", "rigl90"]
        assert manifest.default == "dense"
        assert report["steps"] == 3 * 7  # 200 rows in sevens of 32
        assert report["baseline_accuracy"] == 1.0
        assert manifest.variants[1].latencies[0].worker_class == "cpu"
        _, outputs = await house.run(
            InferBody(model="net", variant="rigl90"), {"x": layouts.dense(X[:3])}
        )
        assert outputs["y"].shape == (3, 4)
        trained = artifact.unpack(await house.bus.get_blob(manifest.variants[1].artifact))
        assert {w.layout for w in trained.weights.values()} >= {Layout.CSR}


async def test_training_further_makes_a_turned_network_right(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network(turned=True))
        body = TrainBody(model="net", epochs=60, batch=32, rate=1e-2)

        finished, _ = await house.run(body, ROWS)

        assert float(str(finished.report["baseline_accuracy"])) < 0.2
        assert float(str(finished.report["accuracy"])) > 0.9


async def test_the_same_job_gives_the_same_artifact(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        first, second = [(await house.run(BODY, LEARNED))[0].report["artifact"] for _ in range(2)]

        assert first == second


async def test_a_run_that_lost_its_worker_goes_on_from_its_checkpoint(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every leg is one slice long; the first is stored, then the worker breaks once."""
    monkeypatch.setattr(training, "LEG", 0.0)
    monkeypatch.setattr(training, "SLICE", 0.0)
    async with opened(memory) as house:
        await house.load(network())
        whole, _ = await house.run(BODY, LEARNED)
        await house.forget()
        broken = breaking(monkeypatch, after=5)

        again, _ = await house.run(BODY.model_copy(update={"variant": "again"}), LEARNED)

        assert broken() == 1
        assert again.report["artifact"] == whole.report["artifact"]


async def test_a_checkpoint_of_another_run_is_not_taken_up(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        whole, _ = await house.run(BODY, LEARNED)
        (entry,) = [e for e in await house.bus.entries(Bucket.CONTROL) if e.key[:6] == "train."]
        stored = await house.bus.get_blob(BlobRef.model_validate_json(entry.value or b""))
        false = replace(state.unpack(stored), slots={})
        ref = await house.bus.put_blob(state.pack(false))
        await house.bus.put(Bucket.CONTROL, entry.key, ref.model_dump_json().encode())

        again, _ = await house.run(BODY.model_copy(update={"variant": "again"}), LEARNED)

        assert again.report["resumed_at"] == 0
        assert again.report["artifact"] == whole.report["artifact"]


async def test_progress_tells_step_and_loss(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        heard: list[str] = []
        subject = subjects.event("default", "watched", "progress")
        await house.bus.subscribe(subject, lambda message: heard.append(message.data.decode()))
        job = JobSubmitted(job="watched", body=BODY.model_copy(update={"epochs": 200}))

        await jobs.submit_and_wait(house.bus, job, LEARNED, timeout=60)

        assert any("of 1400, loss" in event for event in heard)


async def test_a_cancelled_run_leaves_no_variant(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        record = await house.cancelled(BODY.model_copy(update={"epochs": 100_000}), LEARNED)

        assert record.failure is not None
        assert record.failure.code == JobCancelled.code
        assert [variant.name for variant in (await house.manifest()).variants] == ["dense"]


@pytest.mark.parametrize(
    ("changes", "tensors", "error", "told"),
    [
        ({}, {}, InvalidTensor, "needs the tensor 'train_x'"),
        ({"model": None}, LEARNED, InvalidMessage, "name the model"),
        ({"variant": "dense"}, LEARNED, InvalidMessage, "'dense' is what the model came with"),
        ({"model": "nothing"}, LEARNED, UnknownModel, "nothing"),
        ({"rate": 1e30, "sparse": None}, LEARNED, TrainingDiverged, "a smaller rate than 1e"),
        (
            {"sparse": SparseTraining(method="gradual", sparsity=0.2, start=0.5)},
            LEARNED,
            InvalidMessage,
            "start 0.5 exceeds the sparsity 0.2",
        ),
        (
            {},
            LEARNED | {"train_labels": layouts.dense(np.full(len(X), 9))},
            InvalidTensor,
            "label 9 is not one of the 4 classes",
        ),
        ({}, LEARNED | {"train_labels": layouts.dense(LABELS[:5])}, InvalidTensor, "not the same"),
        (
            {},
            LEARNED | {"train_x": layouts.dense(np.full_like(X, np.nan))},
            InvalidTensor,
            r"x must be finite, x\[0, 0\] is nan",
        ),
        (
            {},
            {name: layouts.dense(t.values[:0]) for name, t in LEARNED.items()},
            InvalidTensor,
            "row",
        ),
    ],
    ids=[
        "no_rows",
        "no_model",
        "first",
        "unknown",
        "rate",
        "start",
        "label",
        "short",
        "nan",
        "empty",
    ],
)
async def test_what_cannot_be_trained_is_refused_with_a_reason(
    memory: MemoryBroker,
    changes: dict[str, object],
    tensors: Mapping[str, Tensor],
    error: type[Exception],
    told: str,
) -> None:
    async with opened(memory) as house:
        await house.load(network())

        with pytest.raises(error, match=told):
            await house.run(BODY.model_copy(update=changes), tensors)


async def test_a_pinned_job_trains_an_artifact_and_nothing_else(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        sha256 = (await house.manifest()).variants[0].artifact.sha256

        finished = await pinned(house, BODY.model_copy(update={"artifact": sha256, "model": None}))

        ref = {"sha256": finished.report["artifact"], "size": finished.report["size"]}
        made = artifact.unpack(await house.bus.get_blob(BlobRef.model_validate(ref)))
        assert len(made.steps) == 2
        with pytest.raises(BlobMissing):
            await pinned(house, BODY.model_copy(update={"artifact": "0" * 64, "model": None}))


async def test_workers_report_what_products_read(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        finished, tensors = await house.run(
            InferBody(model="net", observe=True), {"x": layouts.dense(X)}
        )

        steps = finished.report["steps"]
        assert isinstance(steps, list)
        seen = observing.from_tensors(tensors, [str(step) for step in steps])
        first = seen[str(steps[0])]
        assert first.rows == len(X)
        assert first.high == X.max()
        np.testing.assert_allclose(first.gram, X.T.astype(np.float64) @ X, rtol=1e-5)


async def pinned(house: House, body: TrainBody) -> JobFinished:
    job = JobSubmitted(job=f"pinned-{next(house.ids)}", worker_class="cpu", body=body)
    return (await jobs.submit_and_wait(house.bus, job, LEARNED, timeout=SECONDS))[0]


def breaking(monkeypatch: pytest.MonkeyPatch, *, after: int) -> Callable[[], int]:
    """Let the worker fail once, after so many checkpoints."""
    counts = {"kept": 0, "broken": 0}
    keep = training.Trainer._keep

    async def kept(self: training.Trainer, key: str, now: object) -> None:
        await keep(self, key, now)
        counts["kept"] += 1
        if counts["kept"] == after:
            counts["broken"] += 1
            raise RuntimeError("the worker breaks")

    monkeypatch.setattr(training.Trainer, "_keep", kept)
    return lambda: counts["broken"]
