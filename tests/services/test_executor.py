"""Jobs around a backend: what they compute, how they are timed, and what is refused."""

import anyio
import anyio.to_thread
import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.chassis import measured
from shared.contracts.errors import (
    BlobMissing,
    InvalidTensor,
    ModelNotReady,
    NonFiniteInput,
    SuiteError,
    UnknownModel,
    UnsupportedOperator,
)
from shared.contracts.v1.jobs import Body, InferBody, JobSubmitted, OperatorBody
from shared.network import execute
from shared.operators.reference import ReferenceBackend
from shared.tensors import layouts
from tests.network.streams import STEPS, spiking, trains
from tests.services.compute_house import X, opened, rows, scaling


async def test_a_model_is_run_on_the_tensors_of_the_job(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        outcome = await house.run(InferBody(model="scale"))

    assert np.array_equal(outcome.tensors["y"].values, 2 * rows(1.0, 2.0))
    assert len(outcome.timing.samples) == 1
    assert outcome.timing.run == outcome.timing.samples[0]
    assert outcome.report["rows"] == 2


async def test_a_large_batch_is_processed_whole(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        x = rows(*np.arange(1000.0, 6000.0))
        outcome = await house.run(InferBody(model="scale"), {"x": layouts.dense(x)})

    assert house.backend.runs == [5000]
    assert np.array_equal(outcome.tensors["y"].values, 2 * x)


async def test_repeats_are_timed_one_by_one_after_a_warm_up(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        outcome = await house.run(InferBody(model="scale", repeat=7))

    assert len(outcome.timing.samples) == 7
    assert all(sample > 0 for sample in outcome.timing.samples)
    assert len(house.backend.runs) == 8


async def test_a_trace_names_every_step_with_its_time_and_cost(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        outcome = await house.run(InferBody(model="scale", trace=True))

    (step,) = outcome.timing.steps
    assert (step.step, step.operator) == ("scale", "gemm_f32")
    assert step.seconds > 0
    assert step.flops >= 2 * 2 * 3 * 3  # a multiplication and an addition per weight and row
    assert step.sparsity == pytest.approx(6 / 9)  # the diagonal of 3 x 3 is full


async def test_an_operator_is_run_and_its_transfers_are_timed_apart(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        x = {"x": layouts.dense(np.array([-1.0, 2.0], np.float32))}
        outcome = await house.run(OperatorBody(operator="relu", repeat=5), x)

    timing = outcome.timing
    assert outcome.tensors["y"].values.tolist() == [0.0, 2.0]
    assert [len(times) for times in (timing.samples, timing.upload_samples)] == [5, 5]
    assert len(timing.download_samples) == 5
    assert outcome.report == {"backend": house.backend.name}


async def test_a_job_leaves_nothing_on_the_backend_but_weights(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        before = house.backend.held
        await house.run(InferBody(model="scale", repeat=3, trace=True))
        await house.run(OperatorBody(operator="relu", repeat=30))
        with pytest.raises(InvalidTensor):
            await house.run(InferBody(model="scale"), {"z": X["x"]})

    assert before == 1
    assert house.backend.held == 0  # the weights went with the worker


async def test_a_cancelled_measurement_frees_the_device_within_a_slice(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:

        async def stop(done: float, reason: str) -> None:
            scope.cancel()

        long = JobSubmitted(job="j1", body=OperatorBody(operator="relu", repeat=10_000))
        x = {"x": layouts.dense(np.zeros(100_000, np.float32))}
        with anyio.CancelScope() as scope:
            await house.handler().handle(long, x, stop)

    assert scope.cancelled_caught
    assert house.backend.held == 0
    assert len(house.backend.runs) < 10_000


async def test_a_device_call_that_hangs_is_noticed_while_it_does(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        house.backend.gate.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(house.run, InferBody(model="scale"))
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
            await house.run(body)


async def test_small_inputs_whose_product_takes_too_much_memory_are_refused(
    memory: MemoryBroker,
) -> None:
    tall = layouts.dense(np.ones((2**15, 1), np.float32))  # 128 KiB

    async with opened(memory) as house:
        with pytest.raises(InvalidTensor, match=r"'y' would be \(32768, 32768\), over the limit"):
            await house.run(OperatorBody(operator="gemm_f32"), {"x": tall, "weight": tall})


async def test_inputs_of_the_wrong_shape_are_refused_with_the_shape(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        x = layouts.dense(np.zeros((2, 4), np.float32))

        with pytest.raises(InvalidTensor, match=r"\(2, 4\)"):
            await house.run(InferBody(model="scale"), {"x": x})


async def test_a_model_that_refuses_nan_names_the_first_one(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.add("scale", scaling())
        x = rows(1.0, 2.0)
        x[1, 2] = np.nan

        with pytest.raises(NonFiniteInput, match=r"nan at \(1, 2\)"):
            await house.run(InferBody(model="scale"), {"x": layouts.dense(x)})


def test_a_job_whose_spikes_are_none_is_refused_with_the_place() -> None:
    x = trains(2, STEPS)
    x[1, 0, 2] = -1
    loaded = execute.load(spiking(), ReferenceBackend())

    with pytest.raises(ValueError, match=r"'x' is -1\.0 at \(1, 0, 2\); a spike is 0 or 1"):
        next(measured.network(loaded, {"x": layouts.dense(x)}, 1))
