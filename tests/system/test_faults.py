"""Killing processes of a running stack loses nothing and leaves nothing."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

import nats
import numpy as np
import psutil
import pytest
from nats.aio.msg import Msg

from ops.stack import broker
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis import training
from shared.chassis.settings import CpuSettings
from shared.client.client import Client
from shared.contracts.errors import SuiteError
from shared.contracts.v1.jobs import InferBody, OperatorBody, Status, TrainBody
from shared.contracts.v1.training import SparseTraining
from shared.network import artifact
from shared.network.graph import Network
from shared.network.training import backward, loop
from shared.network.training.loop import Rows
from shared.tensors import container, layouts
from tests.system import networks, processes, products
from tests.system.networks import Classifier
from tests.system.processes import Running

pytestmark = pytest.mark.system
JOBS = 100


async def test_killed_worker_under_load_loses_no_job_and_ends_each_once(stack: Running) -> None:
    announced: Counter[str] = Counter()
    listener = await nats.connect(stack.nats)
    body = OperatorBody(operator="gemm_f32", repeat=200)  # so that a job takes some milliseconds

    async def note(message: Msg) -> None:
        announced[message.subject] += 1

    async def submit(client: Client, number: int) -> None:
        tensors = products.numbered(number)
        await client.submit(body, tensors, job_id=f"kill-{number}", worker_class="cpu")

    await listener.subscribe("el.v1.done.faults.*", cb=note)
    async with Client(stack.grpc, tenant="faults") as client:
        await asyncio.gather(*(submit(client, number) for number in range(JOBS)))
        await processes.until(lambda: len(announced) >= 10)
        victim = (await _workers(client))[0]
        os.kill(victim, signal.SIGKILL)
        done_at_kill = len(announced)
        results = [await client.result(f"kill-{number}", timeout=60) for number in range(JOBS)]

    assert done_at_kill < JOBS
    for number, (record, tensors) in enumerate(results):
        assert record.status is Status.SUCCEEDED
        products.require_own(tensors, number)
    await processes.until(lambda: len(announced) == JOBS)
    assert set(announced.values()) == {1}
    await listener.close()


async def test_training_goes_on_bit_by_bit_when_its_worker_is_killed(
    stack: Running, network: Classifier
) -> None:
    x, labels = networks.samples(network, np.random.default_rng(3))
    rows = {"train_x": layouts.dense(x), "train_labels": layouts.dense(labels.astype(np.int64))}
    sparse = SparseTraining(method="rigl", sparsity=0.8, every=50)
    body = TrainBody(model="trainee", epochs=2000, batch=20, fresh=True, sparse=sparse)
    async with Client(stack.grpc, tenant="faults") as client:
        await client.add_model("trainee", network.onnx())
        manifest, _ = await client.describe_model("trainee")
        untrained = artifact.unpack(await client.download(manifest.variants[0].artifact))
        before = await _checkpoints(stack)
        await client.submit(body, rows, job_id="learn-1")
        async with asyncio.timeout(60):
            while await _checkpoints(stack) <= before:  # noqa: ASYNC110 - the bucket tells no one
                await asyncio.sleep(0.1)
        for victim in stack.running("services.cpu_worker"):  # silent ones too, which have no card
            os.kill(victim, signal.SIGKILL)
        record, _ = await client.result("learn-1", timeout=120)
        await client.remove_model("trainee")

    assert record.status is Status.SUCCEEDED, record.failure
    assert 0 < int(str(record.report["resumed_at"])) < 20_000
    undisturbed = await asyncio.to_thread(_trained, untrained, body, Rows(x, labels))
    assert record.report["artifact"] == container.digest(artifact.pack(undisturbed))


def _trained(network: Network, body: TrainBody, rows: Rows) -> Network:
    """The same run in this process."""
    run = backward.on(CpuBackend(engine.start(CpuSettings().cache)))
    state = loop.start(network, training.plan(body), fresh=body.fresh)
    while not loop.finished(state, training.plan(body), len(rows.x)):
        state = loop.advance(state, training.plan(body), rows, run)
    return state.network


async def _checkpoints(stack: Running) -> set[str]:
    """Names of the training states that are stored."""
    listener = await nats.connect(stack.nats)
    subjects = "$KV.el_ctl.train.>"
    stored = await listener.jetstream().stream_info("KV_el_ctl", subjects_filter=subjects)
    await listener.close()
    return set(stored.state.subjects or {})


async def test_killed_worker_is_started_again_and_said_so(stack: Running) -> None:
    async with Client(stack.grpc) as client:
        victim = (await _full_strength(client))[0]
        os.kill(victim, signal.SIGKILL)

        after = await _full_strength(client, without=victim)

    said = await asyncio.to_thread(stack.log.read_text)
    assert f"(pid {victim}) was killed by SIGKILL" in said
    assert f"runs again (pid {after[0]})" in said or f"runs again (pid {after[1]})" in said


@pytest.mark.parametrize("service", ["nats", "gateway", "scheduler", "compressor", "profiler"])
async def test_any_other_process_is_started_again_and_work_goes_on(
    stack: Running, model: str, network: Classifier, service: str
) -> None:
    x = np.ones((1, 32), np.float32)
    pid = await stack.one(service)

    os.kill(pid, signal.SIGKILL)
    await processes.until(lambda: f"(pid {pid}) was killed by SIGKILL" in stack.log.read_text())
    await processes.until(lambda: f"ellesmere: {service} runs again" in stack.log.read_text())

    async with Client(stack.grpc, timeout=60) as client:
        outputs = await _answer(client, model, x)
        receipt = await client.submit(InferBody(model=model), {"x": layouts.dense(x)})
        record, _ = await client.result(receipt.job, timeout=60)
    assert record.status is Status.SUCCEEDED
    np.testing.assert_allclose(outputs["scores"], network.scores(x), rtol=1e-4, atol=1e-3)


def test_sigterm_ends_every_process_with_code_0_and_models_survive(
    tmp_path: Path, network: Classifier
) -> None:
    options = ("--cpu-workers", "1", "--gpu-workers", "0")

    with processes.up(tmp_path, *options) as first:
        family = first.family()
        asyncio.run(_add(first.grpc, network))
        code = first.stop()

    assert code == 0
    assert [process for process in family if process.is_running()] == []
    with processes.up(tmp_path, *options) as second:
        scores = asyncio.run(_infer(second.grpc))
    np.testing.assert_allclose(
        scores, network.scores(np.ones((1, 32), np.float32)), rtol=1e-4, atol=1e-3
    )


def test_killed_command_takes_its_stack_along_but_not_a_broker_of_others(tmp_path: Path) -> None:
    with broker.Broker(tmp_path / "nats") as others:
        options = ("--cpu-workers", "1", "--gpu-workers", "0", "--nats-url", others.url)
        with processes.up(tmp_path, *options) as running:
            family = running.family()
            running.process.kill()

            _, alive = psutil.wait_procs(family, timeout=20)

        assert alive == []
        assert running.nats == others.url
        assert "nats" not in running.ready["pids"]
        assert others.healthy()


def test_second_stack_in_the_same_folder_is_refused(stack: Running) -> None:
    folder = str(stack.ready["data"])

    ended = processes.command("up", "--ports", "auto", "--data", folder, address=stack.grpc)

    assert ended.returncode == 3
    assert "error: [EL-1211]" in ended.stderr


async def _workers(client: Client) -> list[int]:
    """Process ids of the CPU workers that live; cards of the dead stay for three seconds."""
    state = await client.status()
    known = [item.card.pid for item in state.workers if item.card.service == "cpu-worker"]
    return [pid for pid in known if psutil.pid_exists(pid)]


async def _full_strength(client: Client, *, without: int = 0) -> list[int]:
    """Wait for two CPU workers besides the one that was killed."""
    async with asyncio.timeout(30):
        while len(pids := {*await _workers(client)} - {without}) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return list(pids)


async def _answer(client: Client, model: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """The first answer once the gateway is back and sees the broker, and a worker has the model."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(SuiteError):
                return await client.infer(model, {"x": x})
            await asyncio.sleep(0.1)


async def _add(grpc: str, network: Classifier) -> None:
    async with Client(grpc) as client:
        await client.add_model("keeper", network.onnx())


async def _infer(grpc: str) -> np.ndarray:
    async with Client(grpc) as client:
        async with asyncio.timeout(30):
            while not await client.ready("keeper"):  # noqa: ASYNC110 - polls the outside
                await asyncio.sleep(0.05)
        return (await client.infer("keeper", {"x": np.ones((1, 32), np.float32)}))["scores"]
