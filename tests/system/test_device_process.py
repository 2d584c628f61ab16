"""The process that has the device dies under load: its worker lives, and nothing is lost."""

import asyncio
import os
import signal
from collections import Counter

import nats
import numpy as np
import psutil
import pytest
from nats.aio.msg import Msg

from shared.client.client import Client
from shared.contracts.v1.jobs import OperatorBody, Status
from tests.system import processes, products
from tests.system.networks import Classifier
from tests.system.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.opencl]
CHILD = "services.gpu_worker.isolation.child"
JOBS, KILLS = 60, 3


@pytest.fixture
async def worker(stack: Running) -> psutil.Process:
    """The GPU worker, where there is a device."""
    if not stack.pids("gpu-worker"):
        pytest.skip("no OpenCL device: the stack runs without a GPU worker")
    return psutil.Process(await stack.one("gpu-worker"))


async def test_killed_device_process_under_load_loses_no_job_and_spares_the_worker(
    stack: Running, worker: psutil.Process, model: str, network: Classifier
) -> None:
    announced: Counter[str] = Counter()
    listener = await nats.connect(stack.nats)
    body = OperatorBody(operator="gemm_f32", repeat=200)  # so that a job takes some milliseconds
    killed: list[int] = []

    async def note(message: Msg) -> None:
        announced[message.subject] += 1

    async def submit(client: Client, number: int) -> None:
        tensors = products.numbered(number)
        pinned = "gpu-pocl" if number % 2 else None
        await client.submit(body, tensors, job_id=f"device-{number}", worker_class=pinned)

    async def call(client: Client, number: int) -> None:
        x = np.full((1, 32), number / JOBS, np.float32)
        outputs = await client.infer(model, {"x": x})
        np.testing.assert_allclose(outputs["scores"], network.scores(x), rtol=1e-4, atol=1e-3)

    async def kill() -> None:
        for turn in range(1, KILLS + 1):
            await processes.until(lambda turn=turn: len(announced) >= 5 * turn)
            opened = _opened(stack)
            killed.append(await _child(worker, *killed))
            os.kill(killed[-1], signal.SIGKILL)
            await processes.until(lambda opened=opened: _opened(stack) > opened)

    await listener.subscribe("el.v1.done.device.*", cb=note)
    async with Client(stack.grpc, tenant="device", timeout=60) as client:
        await asyncio.gather(*(submit(client, number) for number in range(JOBS)))
        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for number in range(JOBS):
                group.create_task(call(client, number))
        results = [await client.result(f"device-{number}", timeout=90) for number in range(JOBS)]

    assert len({*killed}) == KILLS
    for number, (record, tensors) in enumerate(results):
        assert record.status is Status.SUCCEEDED
        products.require_own(tensors, number)
    await processes.until(lambda: len(announced) == JOBS)
    assert set(announced.values()) == {1}
    assert await _child(worker, *killed)
    assert worker.is_running()
    await listener.close()


def _opened(stack: Running) -> int:
    """How often the worker has logged that its device is open."""
    return stack.log.read_text().count('"event": "device.opened"')


async def _child(worker: psutil.Process, *without: int) -> int:
    """Process id of the worker's device process, of another than these."""
    found: list[int] = []

    def there() -> bool:
        children = worker.children()
        found[:] = [one.pid for one in children if _is_child(one) and one.pid not in without]
        return bool(found)

    await processes.until(there)
    return found[0]


def _is_child(process: psutil.Process) -> bool:
    try:
        return CHILD in process.cmdline()
    except psutil.Error:
        return False
