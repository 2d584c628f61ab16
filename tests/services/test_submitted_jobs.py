"""Jobs that a service submits for other workers, and how it hears of their end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus, Inbound
from shared.chassis import jobs
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    DeadlineExceeded,
    InvalidTensor,
    JobCancelled,
    JobFailed,
    SuiteError,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import JobFinished, JobSubmitted, Status
from shared.tensors import layouts
from tests.services.worker_house import Script, failing, job, place, succeed, working


@asynccontextmanager
async def forwarding(bus: Bus) -> AsyncIterator[None]:
    """Stand in for the scheduler: place every job as it comes."""
    send, receive = anyio.create_memory_object_stream[Inbound](100)

    async def forward() -> None:
        async for message in receive:
            whole = frame.message_of(message.data, JobSubmitted)
            await place(bus, whole, data=message.data)

    await bus.subscribe(subjects.ALL_JOBS, send.send_nowait)
    async with receive, send, anyio.create_task_group() as group:
        group.start_soon(forward)
        yield
        group.cancel_scope.cancel()


async def test_a_service_submits_a_job_and_gets_its_outputs(memory: MemoryBroker) -> None:
    async with working(memory, Script([succeed])) as bus, forwarding(bus):
        large = {"x": layouts.dense(np.zeros(100_000, np.float32))}
        record, outputs = await jobs.submit_and_wait(bus, job(), large, timeout=5)

    assert record.status is Status.SUCCEEDED
    assert record.worker == "cpu-1"
    assert outputs["y"].values.tolist() == [1.0, 2.0]


async def test_a_service_gets_the_error_that_its_job_failed_with(memory: MemoryBroker) -> None:
    script = Script([failing(InvalidTensor("x has no rows"))])
    async with working(memory, script) as bus, forwarding(bus):
        with pytest.raises(InvalidTensor, match="x has no rows"):
            await jobs.submit_and_wait(bus, job(), timeout=5)


async def test_a_service_stops_waiting_and_withdraws_its_job(memory: MemoryBroker) -> None:
    bus = memory.connect("service")

    with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        await jobs.submit_and_wait(bus, job(), timeout=0.05)

    wish = await bus.get(Bucket.CONTROL, "cancel.j1")
    assert wish is not None
    assert wish.value == b"acme"


async def test_a_service_that_is_cancelled_withdraws_its_job(memory: MemoryBroker) -> None:
    bus = memory.connect("service")

    with anyio.move_on_after(0.05):
        await jobs.submit_and_wait(bus, job(), timeout=60)

    wish = await bus.get(Bucket.CONTROL, "cancel.j1")
    assert wish is not None
    assert wish.value == b"acme"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.CANCELLED, JobCancelled),
        (Status.EXPIRED, DeadlineExceeded),
        (Status.FAILED, JobFailed),
    ],
)
def test_a_record_without_success_stands_for_one_error(
    status: Status, error: type[SuiteError]
) -> None:
    record = JobFinished(job="j1", tenant="acme", kind="operator", status=status)

    assert type(jobs.error_of(record)) is error
