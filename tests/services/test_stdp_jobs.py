"""Learning without labels as jobs: in-memory bus, the real scheduler, real CPU workers, digits."""

import numpy as np
import pytest

from services.cpu_worker.backend import CpuBackend
from shared.bus.memory import MemoryBroker
from shared.chassis import checkpoints, competing, jobs
from shared.contracts import subjects
from shared.contracts.errors import (
    JobCancelled,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import InferBody, JobSubmitted
from shared.network import artifact
from shared.network.training import backward, competitive, voting
from shared.network.training.competitive import Competitive
from shared.tensors import layouts
from tests.services.compressor_house import SECONDS, House, opened
from tests.services.digit_rows import BODY, FEW, HELD_LABELS, HELD_X, LABELS, LEARNED, ROWS, X

PLAN = Competitive(neurons=40, steps=30, epochs=1, seed=3)
CHANCE = 0.1


async def test_neurons_learn_digits_without_labels_and_are_served_as_they_were_judged(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        finished, tensors = await house.run(BODY, ROWS)
        served = [await answer(house, row) for row in HELD_X[:20]]

        report, scores = finished.report, tensors["scores"].values
        assert scores.shape == (100, 10)
        np.testing.assert_array_equal(np.concatenate(served), scores[:20])
        right = int((scores.argmax(axis=1) == HELD_LABELS).sum())
        assert report["correct"] == right
        assert report["accuracy"] == right / 100
        assert right / 100 > 5 * CHANCE
        low, high = report["accuracy_low"], report["accuracy_high"]
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert low < right / 100 < high


async def test_what_a_job_learns_is_what_the_library_learns(memory: MemoryBroker) -> None:
    run = backward.on(CpuBackend())
    found = competitive.fit(X, PLAN, run)
    stands = competitive.standing(competitive.responses(found, X, PLAN, run), LABELS, 10)

    async with opened(memory) as house:
        await house.run(BODY, LEARNED)
        (variant,) = (await house.manifest("eyes")).variants
        stored = await house.bus.get_blob(variant.artifact)

    assert stored == artifact.pack(voting.network(found, stands, 10, PLAN))


async def test_a_model_that_is_made_takes_one_row_and_says_which_job_made_it(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        finished, _ = await house.run(BODY, FEW)

        manifest = await house.manifest("eyes")
        assert (manifest.inputs[0].name, manifest.inputs[0].shape) == ("x", (1, 64))
        assert (manifest.outputs[0].name, manifest.outputs[0].shape) == ("scores", (1, 10))
        assert (manifest.default, manifest.variants[0].method) == ("first", "train stdp")
        assert manifest.variants[0].job == finished.job


async def test_a_report_counts_neurons_spikes_and_showings(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        finished, _ = await house.run(BODY.model_copy(update={"epochs": 2}), FEW)

    report = finished.report
    stand, idle, layers = (report[name] for name in ("neurons_of_class", "idle", "layers"))
    assert isinstance(stand, list)
    assert isinstance(idle, int)
    assert isinstance(layers, dict)
    assert sum(stand) + idle == 40
    assert report["steps"] == 2 * 30  # epochs, rows
    assert layers["layer"]["neurons"] == 40
    assert 0 < layers["layer"]["spikes"] <= 30 * 30  # rows, steps: at most one fires in each


async def test_without_held_out_rows_nothing_is_claimed(memory: MemoryBroker) -> None:
    few = {name: FEW[name] for name in LEARNED}

    async with opened(memory) as house:
        finished, tensors = await house.run(BODY, few)

    assert "accuracy" not in finished.report
    assert tensors == {}


async def test_the_same_seed_makes_the_same_artifact_and_another_one_another(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        made = []
        for model, seed in (("one", 3), ("two", 3), ("three", 4)):
            body = BODY.model_copy(update={"model": model, "seed": seed})
            made.append((await house.run(body, FEW))[0].report["artifact"])
            await house.forget()

    assert made[0] == made[1] != made[2]


async def test_neurons_learn_further_from_what_their_model_began_with(memory: MemoryBroker) -> None:
    further = BODY.model_copy(update={"variant": "further", "stdp": None, "seed": 8})

    async with opened(memory) as house:
        await house.run(BODY, FEW)
        finished, _ = await house.run(further, FEW)
        manifest = await house.manifest("eyes")
        first, second = [
            voting.read(artifact.unpack(await house.bus.get_blob(one.artifact)))
            for one in manifest.variants
        ]
        served = await answer(house, HELD_X[0], "further")

    assert [one.name for one in manifest.variants] == ["first", "further"]
    assert manifest.default == "first"
    assert finished.report["neurons"] == 40
    assert second.says["steps"] == 30
    assert (
        second.learned.theta >= 0.99 * first.learned.theta
    ).all()  # 900 steps of 1e5 that it takes
    assert not np.array_equal(first.learned.weight, second.learned.weight)
    assert served.shape == (1, 10)


async def test_an_attempt_whose_record_was_lost_makes_the_same_model_again(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        first, _ = await house.run(BODY, FEW)
        manifest = await house.manifest("eyes")
        again = manifest.variants[0].model_copy(update={"job": "job-1"})  # the next one here
        changed = manifest.model_copy(update={"variants": (again,)})
        await house.bus.put(Bucket.MODELS, "eyes", changed.encode())

        second, _ = await house.run(BODY, FEW)

    assert second.job == "job-1"
    assert second.report["artifact"] == first.report["artifact"]


async def test_a_run_goes_on_from_its_checkpoint_bit_by_bit(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every leg is one showing; the worker breaks after the fifth."""
    monkeypatch.setattr(competing, "LEG", 0.0)
    async with opened(memory) as house:
        whole, _ = await house.run(BODY, FEW)
        await house.forget()
        broken = breaking(monkeypatch, after=5)

        again, _ = await house.run(BODY.model_copy(update={"model": "again"}), FEW)

    assert broken == [5]
    assert again.report["resumed_at"] == 5
    assert again.report["artifact"] == whole.report["artifact"]


async def test_progress_tells_rows_and_spikes(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(competing, "SLICE", 0.0)
    async with opened(memory) as house:
        heard: list[str] = []
        subject = subjects.event("default", "watched", "progress")
        await house.bus.subscribe(subject, lambda message: heard.append(message.data.decode()))
        job = JobSubmitted(job="watched", body=BODY)

        await jobs.submit_and_wait(house.bus, job, ROWS, timeout=SECONDS)

    assert any("of 300 shown" in event for event in heard)


async def test_a_cancelled_run_leaves_no_model(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        body = BODY.model_copy(update={"epochs": 10_000})

        record = await house.cancelled(body, LEARNED, told=b"shown")

        assert record.failure is not None
        assert record.failure.code == JobCancelled.code
        assert await house.bus.get(Bucket.MODELS, "eyes") is None


async def test_a_run_over_its_deadline_expires(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        body = BODY.model_copy(update={"epochs": 10_000})
        job = JobSubmitted(job="late", deadline=1.0, body=body)  # in 1970

        await jobs.submit(house.bus, job, LEARNED)
        record = await jobs.wait(house.bus, job, timeout=SECONDS)

    assert record.status == "expired"


async def answer(house: House, row: np.ndarray, variant: str | None = None) -> np.ndarray:
    """What the model answers to one row, (1, classes)."""
    body = InferBody(model="eyes", variant=variant)
    _, outputs = await house.run(body, {"x": layouts.dense(row[np.newaxis])})
    return outputs["scores"].values


def breaking(monkeypatch: pytest.MonkeyPatch, *, after: int) -> list[int]:
    """Let the worker fail once, after so many checkpoints; the list tells at which."""
    kept, broken = list[str](), list[int]()
    keep = checkpoints.Checkpoints.keep

    async def keeping(self: checkpoints.Checkpoints, key: str, now: object) -> None:
        await keep(self, key, now)  # type: ignore[arg-type]  # as it was given
        kept.append(key)
        if len(kept) == after:
            broken.append(after)
            raise RuntimeError("the worker breaks")

    monkeypatch.setattr(checkpoints.Checkpoints, "keep", keeping)
    return broken
