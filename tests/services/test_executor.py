"""Jobs around a backend: what they compute, how they are timed, and which artifacts are kept."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus, Inbound
from shared.chassis import artifacts, jobs
from shared.chassis.artifacts import GUESTS
from shared.chassis.executor import BackendHandler
from shared.chassis.handler import Outcome
from shared.chassis.training import Trainer
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    BlobMissing,
    DeadlineExceeded,
    InvalidNetwork,
    InvalidTensor,
    JobCancelled,
    JobFailed,
    ModelNotReady,
    NonFiniteInput,
    SuiteError,
    UnknownModel,
    UnsupportedOperator,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import (
    Body,
    InferBody,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    Status,
)
from shared.tensors import layouts
from shared.tensors.layouts import Tensor
from tests.services.compute_house import House, opened, rows, scaling, store
from tests.services.worker_house import Script, failing, job, place, succeed, working

X = {"x": layouts.dense(rows(1.0, 2.0))}


async def run(house: House, body: Body, tensors: Mapping[str, Tensor] = X) -> Outcome:
    """Handle one job of that body."""
    handler = BackendHandler(
        house.device, house.artifacts, Trainer(house.bus, house.device, house.artifacts)
    )
    return await handler.handle(JobSubmitted(job="j1", body=body), tensors, progress)


async def progress(done: float, reason: str) -> None:
    """Nobody listens."""


async def test_a_model_is_run_on_the_tensors_of_the_job(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        outcome = await run(house, InferBody(model="scale"))

    assert np.array_equal(outcome.tensors["y"].values, 2 * rows(1.0, 2.0))
    assert len(outcome.timing.samples) == 1
    assert outcome.timing.run == outcome.timing.samples[0]
    assert outcome.report["rows"] == 2


async def test_a_large_batch_is_processed_whole(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        x = rows(*np.arange(1000.0, 6000.0))
        outcome = await run(house, InferBody(model="scale"), {"x": layouts.dense(x)})

    assert house.backend.runs == [5000]
    assert np.array_equal(outcome.tensors["y"].values, 2 * x)


async def test_repeats_are_timed_one_by_one_after_a_warm_up(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        outcome = await run(house, InferBody(model="scale", repeat=7))

    assert len(outcome.timing.samples) == 7
    assert all(sample > 0 for sample in outcome.timing.samples)
    assert len(house.backend.runs) == 8


async def test_a_trace_names_every_step_with_its_time_and_cost(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        outcome = await run(house, InferBody(model="scale", trace=True))

    (step,) = outcome.timing.steps
    assert (step.step, step.operator) == ("scale", "gemm_f32")
    assert step.seconds > 0
    assert step.flops >= 2 * 2 * 3 * 3  # a multiplication and an addition per weight and row
    assert step.sparsity == pytest.approx(6 / 9)  # the diagonal of 3 x 3 is full


async def test_an_operator_is_run_and_its_transfers_are_timed_apart(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        x = {"x": layouts.dense(np.array([-1.0, 2.0], np.float32))}
        outcome = await run(house, OperatorBody(operator="relu", repeat=5), x)

    timing = outcome.timing
    assert outcome.tensors["y"].values.tolist() == [0.0, 2.0]
    assert [len(times) for times in (timing.samples, timing.upload_samples)] == [5, 5]
    assert len(timing.download_samples) == 5
    assert outcome.report == {"backend": house.backend.name}


async def test_a_job_leaves_nothing_on_the_backend_but_weights(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        before = house.backend.held
        await run(house, InferBody(model="scale", repeat=3, trace=True))
        await run(house, OperatorBody(operator="relu", repeat=30))
        with pytest.raises(InvalidTensor):
            await run(house, InferBody(model="scale"), {"z": X["x"]})

    assert before == 1
    assert house.backend.held == 0  # the weights went with the worker


async def test_a_cancelled_measurement_frees_the_device_within_a_slice(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:

        async def stop(done: float, reason: str) -> None:
            scope.cancel()

        handler = BackendHandler(
            house.device, house.artifacts, Trainer(house.bus, house.device, house.artifacts)
        )
        long = JobSubmitted(job="j1", body=OperatorBody(operator="relu", repeat=10_000))
        x = {"x": layouts.dense(np.zeros(100_000, np.float32))}
        with anyio.CancelScope() as scope:
            await handler.handle(long, x, stop)

    assert scope.cancelled_caught
    assert house.backend.held == 0
    assert len(house.backend.runs) < 10_000


async def test_a_device_call_that_hangs_is_noticed_while_it_does(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        house.backend.gate.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(run, house, InferBody(model="scale"))
            await anyio.to_thread.run_sync(house.backend.running.wait)
            during = house.device.stuck(0.0), house.device.stuck(60.0)
            house.backend.gate.set()

        assert during == (True, False)
        assert not house.device.stuck(0.0)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (InferBody(model="scael"), UnknownModel, "did you mean scale"),
        (InferBody(model="scale", variant="int8"), UnknownModel, "only dense"),
        (InferBody(artifact="0" * 64), BlobMissing, "not stored"),
        (InferBody(model="idle"), ModelNotReady, "unloaded"),
        (OperatorBody(operator="rleu"), UnsupportedOperator, "relu"),
        (OperatorBody(operator="relu", attributes={"slope": 2.0}), InvalidTensor, "slope"),
        (OperatorBody(operator="gemm_f32"), InvalidTensor, "weight"),
    ],
)
async def test_what_cannot_be_run_is_refused_by_name(
    memory: MemoryBroker, body: Body, error: type[SuiteError], says: str
) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        await house.add("idle", scaling(3.0), loaded=False)

        with pytest.raises(error, match=says):
            await run(house, body)


async def test_small_inputs_whose_product_takes_too_much_memory_are_refused(
    memory: MemoryBroker,
) -> None:
    tall = layouts.dense(np.ones((2**15, 1), np.float32))  # 128 KiB

    async with opened(memory) as house:
        with pytest.raises(InvalidTensor, match=r"'y' would be \(32768, 32768\), over the limit"):
            await run(house, OperatorBody(operator="gemm_f32"), {"x": tall, "weight": tall})


async def test_inputs_of_the_wrong_shape_are_refused_with_the_shape(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        x = layouts.dense(np.zeros((2, 4), np.float32))

        with pytest.raises(InvalidTensor, match=r"\(2, 4\)"):
            await run(house, InferBody(model="scale"), {"x": x})


async def test_a_model_that_refuses_nan_names_the_first_one(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        x = rows(1.0, 2.0)
        x[1, 2] = np.nan

        with pytest.raises(NonFiniteInput, match=r"nan at \(1, 2\)"):
            await run(house, InferBody(model="scale"), {"x": layouts.dense(x)})


async def test_an_artifact_that_no_model_has_is_loaded_for_the_job(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sha256 = await store(house.bus, "unloaded", scaling(5.0), loaded=False)
        outcome = await run(house, InferBody(artifact=sha256))
        assert sha256 in house.artifacts.digests()

    assert outcome.tensors["y"].values[0, 0] == 5.0


async def test_only_the_last_few_guests_stay_loaded(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        resident = await house.add("scale", scaling())
        guests = []
        for number in range(GUESTS + 2):
            network = scaling(10.0 + number)
            guests.append(await store(house.bus, f"guest{number}", network, loaded=False))
            await run(house, InferBody(artifact=guests[-1]))
        await settled(house, {resident, *guests[2:]})

    assert house.backend.held == 0


async def test_bytes_that_are_no_network_are_refused(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        ref = await house.bus.put_blob(b"not a network", keep=True)

        with pytest.raises(InvalidNetwork, match=ref.sha256[:8]):
            await run(house, InferBody(artifact=ref.sha256))


async def test_a_new_artifact_of_a_model_takes_the_place_of_the_old_one(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling(2.0))
        second = await house.add("scale", scaling(4.0))
        await settled(house, {second})
        outcome = await run(house, InferBody(model="scale"))
        assert house.backend.held == 1

    assert outcome.tensors["y"].values[0, 0] == 4.0


async def test_a_manifest_that_does_not_parse_harms_no_other_model(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.bus.put(Bucket.MODELS, "broken", b"{")
        await house.add("scale", scaling())
        outcome = await run(house, InferBody(model="scale"))

    assert outcome.tensors["y"].values[0, 0] == 2.0


async def test_an_artifact_whose_blob_comes_late_is_loaded_then(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "RETRY_EVERY", 0.01)
    async with opened(memory) as house:
        sha256 = await house.add("scale", scaling())
        ref = (await house.artifacts.resolve(InferBody(model="scale")))[0]
        assert not isinstance(ref, str)
        data = await house.bus.get_blob(ref)
        entry = await house.bus.get(Bucket.MODELS, "scale")
        assert entry is not None
        await house.bus.remove(Bucket.MODELS, "scale")
        await house.bus.delete_blob(ref)
        await settled(house, set())
        await house.bus.put(Bucket.MODELS, "scale", entry.value or b"")
        await anyio.wait_all_tasks_blocked()
        assert house.artifacts.digests() == ()
        await house.bus.put_blob(data, keep=True)
        await settled(house, {sha256})


async def settled(house: House, wanted: set[str]) -> None:
    """Return once exactly these artifacts are loaded."""
    with anyio.fail_after(5):
        while set(house.artifacts.digests()) != wanted:
            await anyio.lowlevel.checkpoint()


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
