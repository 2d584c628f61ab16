"""Stacks of their own: side by side, and stopped in the middle of a compression."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from shared.client.client import Client
from shared.contracts.v1.jobs import CompressBody, JobEvent, OperatorBody, Status
from shared.tensors import layouts
from tests.system import networks, processes, traces
from tests.system.networks import Classifier
from tests.system.processes import Running

pytestmark = pytest.mark.system
SMALL = ("--cpu-workers", "1", "--gpu-workers", "0")


async def test_two_stacks_side_by_side_know_nothing_of_each_other(
    stack: Running, model: str, network: Classifier, tmp_path: Path
) -> None:
    other = networks.classifier(np.random.default_rng(8))
    x = np.ones((1, networks.INPUTS), np.float32)

    with processes.up(tmp_path, *SMALL) as second:
        async with Client(stack.grpc) as here, Client(second.grpc) as there:
            assert await there.list_models() == []
            await there.add_model(model, other.onnx())
            answers = [
                await client.infer(model, {"x": x}, version="dense") for client in (here, there)
            ]
            for number, client in enumerate((here, there)):
                tensors = {"x": layouts.dense(np.full((1, 2), number, np.float32))}
                await client.submit(OperatorBody(operator="relu"), tensors, job_id="same")
            results = [await client.result("same", timeout=20) for client in (here, there)]
        code = await asyncio.to_thread(second.stop)

    for answer, one in zip(answers, (network, other), strict=True):
        np.testing.assert_allclose(answer["scores"], one.scores(x), rtol=1e-4, atol=1e-3)
    assert [tensors["y"].values.tolist() for _, tensors in results] == [[[0, 0]], [[1, 1]]]
    assert code == 0


async def test_compression_stopped_in_the_middle_is_finished_after_a_restart(
    tmp_path: Path, network: Classifier
) -> None:
    x, labels = networks.samples(network, np.random.default_rng(3))
    tensors = {"x": layouts.dense(x), "labels": layouts.dense(labels.astype(np.int64))}
    body = CompressBody(model="midway", method="int8", objective="size", max_accuracy_drop=0.1)

    with processes.up(tmp_path, *SMALL) as first:
        async with Client(first.grpc) as client:
            await client.add_model("midway", network.onnx())
            await client.submit(body, tensors, job_id="compress")
            async for item in client.watch("compress", timeout=20):
                if isinstance(item, JobEvent) and item.what == "started":
                    break
        code = await asyncio.to_thread(first.stop)

    with processes.up(tmp_path, *SMALL) as second:
        async with Client(second.grpc) as client:
            record, _ = await client.result("compress", timeout=60)
            manifest, _ = await client.describe_model("midway")
        left = await traces.of(second)

    assert code == 0
    assert record.status is Status.SUCCEEDED, record.failure
    assert [variant.name for variant in manifest.variants] == ["dense", "int8"]
    artifacts = {variant.artifact.sha256 for variant in manifest.variants}
    assert {subject.split(".")[3] for subject in left.kept} == artifacts
