"""Workers that die, freeze, come and go, and a broker that dies: each job has one right record."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import psutil
import pytest

from shared.client.client import Client
from shared.contracts.errors import SuiteError
from shared.contracts.v1.jobs import JobEvent, JobFinished, OperatorBody, Status
from shared.contracts.v1.workers import WorkerCard
from shared.tensors.layouts import Tensor
from tests.system import processes, products
from tests.system.nats_user import User
from tests.system.networks import INPUTS, Classifier
from tests.system.processes import Running

pytestmark = pytest.mark.system
TENANT = "outages"
JOBS = 100
PRODUCT = OperatorBody(operator="gemm_f32", repeat=100)  # some milliseconds


async def submit(client: Client, name: str, jobs: Iterable[int], worker_class: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in jobs:
            job = client.submit(
                PRODUCT,
                products.numbered(number),
                job_id=f"{name}-{number}",
                worker_class=worker_class,
            )
            group.create_task(job)


async def outcome(client: Client, job: str) -> tuple[JobFinished, dict[str, Tensor]]:
    """The record of a job, asked for until gateway and broker are back."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(SuiteError):
                return await client.result(job, timeout=30)
            await asyncio.sleep(0.1)


async def all_right(client: Client, name: str, jobs: Iterable[int]) -> list[JobFinished]:
    """Records of all jobs, each with its own product."""
    records = []
    for number in jobs:
        record, tensors = await outcome(client, f"{name}-{number}")
        assert record.status is Status.SUCCEEDED, record.failure
        products.require_own(tensors, number)
        records.append(record)
    return records


async def cards(client: Client, service: str) -> list[WorkerCard]:
    """Live workers of a service; cards of the dead stay for three seconds."""
    state = await client.status()
    known = [worker.card for worker in state.workers if worker.card.service == service]
    return [card for card in known if psutil.pid_exists(card.pid)]


async def test_broker_killed_under_load_loses_no_record(stack: Running, user: User) -> None:
    async with Client(stack.grpc, tenant=TENANT) as client:
        await submit(client, "broker", range(JOBS), "cpu")
        await user.record("broker-0", tenant=TENANT)
        os.kill(_broker(stack), signal.SIGKILL)
        records = await all_right(client, "broker", range(JOBS))

    assert len({record.job for record in records}) == JOBS
    streams = user.client.jetstream()
    stored = await streams.stream_info("EL_RES", subjects_filter=f"el.v1.res.{TENANT}.broker-*")
    assert list((stored.state.subjects or {}).values()) == [1] * JOBS


def _broker(stack: Running) -> int:
    """The process that listens where the broker does, whichever that is by now."""
    port = int(stack.nats.rpartition(":")[2])
    for process in stack.family():
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return process.pid
    raise AssertionError("no broker listens")


async def test_gpu_worker_killed_under_load_loses_neither_jobs_nor_calls(
    stack: Running, model: str, network: Classifier
) -> None:
    x = np.ones((1, INPUTS), np.float32)
    async with Client(stack.grpc, tenant=TENANT) as client:
        found = await cards(client, "gpu-worker")
        if not found:
            pytest.skip("this machine has no OpenCL device")
        await submit(client, "gpu", range(40), found[0].worker_class)
        await outcome(client, "gpu-0")
        os.kill(found[0].pid, signal.SIGKILL)

        answers = [await client.infer(model, {"x": x}, version="dense") for _ in range(50)]
        records = await all_right(client, "gpu", range(40))

    for answer in answers:
        np.testing.assert_allclose(answer["scores"], network.scores(x), rtol=1e-4, atol=1e-3)
    assert {record.worker_class for record in records} == {found[0].worker_class}


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Processes that stand still for the length of a block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("by", ["scheduler", "broker"])
async def test_job_of_a_frozen_worker_is_done_elsewhere_and_its_late_result_refused(
    stack: Running, user: User, by: str
) -> None:
    long = OperatorBody(operator="gemm_f32", repeat=10_000)
    job, streams = f"frozen-{by}", user.client.jetstream()
    # Without a scheduler it is the broker that delivers again, 10 s after it last heard of the job.
    also = [] if by == "scheduler" else [_module(stack, "services.scheduler")]
    async with Client(stack.grpc, tenant=TENANT) as client:
        by_name = {card.worker: card.pid for card in await cards(client, "cpu-worker")}
        await client.submit(long, products.numbered(3), job_id=job, worker_class="cpu")
        first = await _starter(client, job)
        with frozen(by_name[first], *also):
            record, tensors = await client.result(job, timeout=60)
            stored = await streams.get_last_msg("EL_RES", f"el.v1.res.{TENANT}.{job}")
        await _idle(client, first)
        again = await streams.get_last_msg("EL_RES", f"el.v1.res.{TENANT}.{job}")
        await submit(client, f"after-{by}", range(4), "cpu")
        await all_right(client, f"after-{by}", range(4))

    assert record.worker != first
    assert record.attempt > 1
    products.require_own(tensors, 3)
    assert (again.seq, again.data) == (stored.seq, stored.data)


def _module(stack: Running, name: str) -> int:
    """The process that runs a module, whichever it is by now."""
    (found,) = stack.running(name)
    return found


async def _starter(client: Client, job: str) -> str:
    """The worker that began a job."""
    async for item in client.watch(job, timeout=20):
        if isinstance(item, JobEvent) and item.what == "started":
            return item.worker
    raise AssertionError(f"{job} was never started")


async def _idle(client: Client, worker: str) -> None:
    """Wait until a worker that was frozen is heard again and has nothing in hand."""
    async with asyncio.timeout(40):
        while True:
            state = await client.status()
            known = [each for each in state.workers if each.card.worker == worker]
            if any(each.beat and each.age < 1.0 and not each.beat.running for each in known):
                return
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def joined(stack: Running, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more CPU worker, started by hand."""
    environment = {**os.environ, "ELLESMERE_NATS_URL": stack.nats, "ELLESMERE_WORKER": name}
    command = [sys.executable, "-m", "services.cpu_worker"]
    worker = subprocess.Popen(
        command, env=environment, cwd=processes.ROOT, stderr=subprocess.DEVNULL
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


async def test_worker_that_joins_takes_work_and_leaves_when_asked(stack: Running) -> None:
    with joined(stack, "newcomer") as newcomer:
        async with Client(stack.grpc, tenant=TENANT) as client:
            await _appeared(client, "newcomer")
            await submit(client, "shared", range(60), "cpu")
            records = await all_right(client, "shared", range(30))
            newcomer.send_signal(signal.SIGTERM)
            records += await all_right(client, "shared", range(30, 60))
            code = await asyncio.to_thread(newcomer.wait, 20)
            left = [card.worker for card in await cards(client, "cpu-worker")]

    assert code == 0
    assert "newcomer" in {record.worker for record in records}
    assert len({record.worker for record in records}) == 3
    assert {record.attempt for record in records} == {1}
    assert "newcomer" not in left


async def _appeared(client: Client, worker: str) -> None:
    async with asyncio.timeout(30):
        while worker not in {card.worker for card in await cards(client, "cpu-worker")}:  # noqa: ASYNC110 - polls the outside
            await asyncio.sleep(0.05)
