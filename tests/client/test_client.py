"""The Python client against a gateway in this process: values in, values or named errors out."""

import time

import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.bus.port import Inbound
from shared.client.channel import GatewayUnavailable
from shared.client.client import Client
from shared.client.jobs import raise_for
from shared.contracts import frame, subjects
from shared.contracts.errors import (
    BlobMissing,
    DeadlineExceeded,
    InvalidTensor,
    JobCancelled,
    JobIdReused,
    ModelNotReady,
    NonFiniteInput,
    UnknownModel,
    UnsupportedOperator,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import (
    BlobRef,
    Failure,
    JobEvent,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    Status,
)
from shared.contracts.v1.models import ModelManifest
from shared.tensors import layouts
from tests.services.gateway_house import House, manifest, opened, route

BODY = OperatorBody(operator="relu")


async def answer_jobs(house: House, **changes: object) -> None:
    """Finish every job at once with its own tensors, as a worker would."""

    def finish(message: Inbound) -> None:
        house.group.start_soon(write, message.data)

    async def write(data: bytes) -> None:
        job, tensors = frame.decode(data, JobSubmitted)
        record = JobFinished(
            job=job.job, tenant=job.tenant, kind=job.body.kind, status=Status.SUCCEEDED
        )
        record = record.model_copy(update={"tensors": job.tensors, **changes})
        whole = frame.encode(record, tensors)
        await house.bus.write_result(subjects.result(job.tenant, job.job), whole)

    await house.bus.subscribe(subjects.ALL_JOBS, finish)


async def test_infer_returns_arrays_by_output_name(memory: MemoryBroker) -> None:
    x = np.array([[1, 2, 3, 4], [0, 1, 0, 0]], np.float32)

    async with opened(memory) as house:
        every = await house.client.infer("digits", {"x": x})
        one = await house.client.infer("digits", {"x": x}, version="int8", outputs=["top"])

    assert every["y"].tolist() == [[5, 4, 9], [0, 2, 0]]
    assert every["y"].dtype == np.float32
    assert {name: array.tolist() for name, array in one.items()} == {"top": [2, 1]}


async def test_columns_of_a_larger_array_are_sent_in_row_order(memory: MemoryBroker) -> None:
    wide = np.arange(16, dtype=np.float32).reshape(2, 8)

    async with opened(memory) as house:
        outputs = await house.client.infer("digits", {"x": wide[:, ::2]})

    assert outputs["y"].tolist() == [[0 + 6, 2 * 2, 3 * 4], [8 + 14, 2 * 10, 3 * 12]]


@pytest.mark.parametrize(
    ("model", "x", "kind", "words"),
    [
        ("none", np.ones((1, 4), np.float32), UnknownModel, "no model 'none'"),
        ("digits", np.ones((1, 4), np.float64), InvalidTensor, "is FP32, got FP64"),
        ("digits", np.ones((1, 5), np.float32), InvalidTensor, "got [1, 5]"),
        ("digits", np.full((1, 4), np.nan, np.float32), NonFiniteInput, "flat index 0"),
        ("digits", np.array([["a"]]), InvalidTensor, "no element type"),
    ],
)
async def test_errors_come_back_as_their_class_without_code_and_fix_in_the_text(
    memory: MemoryBroker, model: str, x: np.ndarray, kind: type[Exception], words: str
) -> None:
    async with opened(memory) as house:
        with pytest.raises(kind) as caught:
            await house.client.infer(model, {"x": x})

    assert words in str(caught.value)
    assert "EL-" not in str(caught.value)
    assert "fix:" not in str(caught.value)


async def test_timeout_is_deadline_exceeded(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        house.workers["cpu-1"].open.clear()
        with pytest.raises(DeadlineExceeded):
            await house.client.infer("digits", {"x": np.ones((1, 4), np.float32)}, timeout=0.05)


async def test_nobody_at_the_address_is_said_with_the_address() -> None:
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(GatewayUnavailable, match=r"127\.0\.0\.1:1") as caught:
            await client.ready()

    assert caught.value.code == "EL-1209"
    assert "ellesmere up" in caught.value.fix


async def test_server_and_model_answer_for_themselves(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        client = house.client
        metadata = await client.metadata("digits")
        states = {(each.model, each.version): each.state for each in await client.index()}

        assert await client.live()
        assert await client.ready()
        assert await client.ready("digits", "int8")
    assert metadata.versions == ("dense", "int8")
    assert metadata.inputs == manifest().inputs
    assert metadata.outputs == manifest().outputs
    assert states == {("digits", "dense"): "READY", ("digits", "int8"): "READY"}


async def test_unload_and_load(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.client.unload("digits")
        with pytest.raises(ModelNotReady):
            await house.client.infer("digits", {"x": np.ones((1, 4), np.float32)})
        await house.client.load("digits")

        assert await house.client.ready("digits")


async def test_models_are_described_listed_and_removed_with_their_blobs(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        own, shared = [await house.bus.put_blob(data, keep=True) for data in (b"own", b"shared")]
        dense, int8 = manifest().variants
        first = manifest(
            "first",
            variants=(
                dense.model_copy(update={"artifact": own}),
                int8.model_copy(update={"artifact": shared}),
            ),
        )
        second = manifest("second", variants=(dense.model_copy(update={"artifact": shared}),))
        await house.put(first, "cpu")
        await house.put(second, "cpu")
        described = await house.client.describe_model("first")
        listed = [each.model for each in await house.client.list_models()]
        await house.client.remove_model("first")
        left = [each.model for each in await house.client.list_models()]

        assert await house.client.download(shared) == b"shared"
        with pytest.raises(BlobMissing):
            await house.client.download(own)
        with pytest.raises(UnknownModel):
            await house.client.describe_model("first")
    assert described == (first, route("first", "cpu"))
    assert (listed, left) == (["digits", "first", "second"], ["digits", "second"])


async def test_job_is_submitted_watched_and_its_result_read(memory: MemoryBroker) -> None:
    x = layouts.dense(np.arange(6, dtype=np.float32))

    async with opened(memory) as house:
        await answer_jobs(house)
        receipt = await house.client.submit(BODY, {"x": x}, job_id="mine")
        seen = [item async for item in house.client.watch("mine")]
        record, tensors = await house.client.result("mine")

    assert (receipt.job, receipt.tenant, receipt.duplicate) == ("mine", "default", False)
    assert isinstance(seen[0], JobEvent)
    assert isinstance(seen[-1], JobFinished)
    assert record.status is Status.SUCCEEDED
    assert np.array_equal(tensors["x"].values, x.values)


async def test_large_tensors_travel_as_blobs_both_ways(memory: MemoryBroker) -> None:
    large = layouts.dense(np.random.default_rng(3).normal(size=300_000).astype(np.float32))
    small = layouts.dense(np.ones(3, np.float32))

    async with opened(memory) as house:
        await answer_jobs(house)
        receipt = await house.client.submit(BODY, {"large": large, "small": small})
        record, tensors = await house.client.result(receipt.job)

    assert set(record.tensors) == {"large"}
    assert np.array_equal(tensors["large"].values, large.values)
    assert np.array_equal(tensors["small"].values, small.values)


async def test_same_id_with_another_job_is_refused(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.client.submit(BODY, job_id="one")
        again = await house.client.submit(BODY, job_id="one")
        with pytest.raises(JobIdReused):
            await house.client.submit(BODY, job_id="one", priority=0)

    assert again.duplicate


async def test_tenants_do_not_see_each_other(memory: MemoryBroker) -> None:
    async with opened(memory) as house, Client(house.address, tenant="acme") as acme:
        first = await house.client.submit(BODY, job_id="one")
        second = await acme.submit(BODY, job_id="one", priority=0)
        stored = await house.bus.message(Stream.JOBS, second.sequence)

    assert (first.duplicate, second.duplicate) == (False, False)
    assert stored.subject == subjects.job("acme", "operator")


async def test_cancelled_job_has_its_record_and_raises_on_demand(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.client.submit(BODY, job_id="one")
        record = await house.client.cancel("one")

    assert record.status is Status.CANCELLED
    with pytest.raises(JobCancelled):
        raise_for(record)


async def onnx_becomes(house: House, failure: Failure | None) -> None:
    """Have imports end with `failure`, or with a manifest of the wanted name."""

    def finish(message: Inbound) -> None:
        house.group.start_soon(write, message.data)

    async def write(data: bytes) -> None:
        job = frame.message_of(data, JobSubmitted)
        status = Status.FAILED if failure else Status.SUCCEEDED
        record = JobFinished(
            job=job.job, tenant=job.tenant, kind="import", status=status, failure=failure
        )
        if failure is None:
            made: ModelManifest = manifest(job.body.model, nan_policy=job.body.nan_policy)
            await house.bus.put(Bucket.MODELS, made.model, made.encode())
        await house.bus.write_result(subjects.result(job.tenant, job.job), record.encode())

    await house.bus.subscribe(subjects.ALL_JOBS, finish)


async def test_added_model_can_be_called(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await onnx_becomes(house, None)
        made = await house.client.add_model("mlp", b"onnx bytes", nan_policy="pass")
        outputs = await house.client.infer("mlp", {"x": np.ones((1, 4), np.float32)})

    assert (made.model, made.nan_policy) == ("mlp", "pass")
    assert outputs["y"].tolist() == [[2, 2, 3]]


async def test_import_that_fails_raises_its_own_error(memory: MemoryBroker) -> None:
    failure = Failure(code="EL-1105", kind="unsupported", message="node 'a' needs Erf")

    async with opened(memory) as house:
        await onnx_becomes(house, failure)
        with pytest.raises(UnsupportedOperator, match="needs Erf"):
            await house.client.add_model("mlp", b"onnx bytes")


async def test_status_shows_workers_routes_models_and_queues(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.bus.ensure_consumer("cpu")
        await house.client.submit(BODY)
        status = await house.client.status()

    (worker,) = status.workers
    assert (worker.card.worker, worker.beat.free) == ("cpu-1", 1)
    assert 0 <= worker.age < 5
    assert [each.model for each in status.routes] == ["digits"]
    assert [each.model for each in status.models] == ["digits"]
    assert status.queues == {"jobs": 1, "cpu": 0}
    assert status.ready


async def test_missing_blob_is_said_so(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        with pytest.raises(BlobMissing):
            await house.client.download(BlobRef(sha256="0" * 64, size=4))


async def test_deadline_in_the_past_is_refused_at_once(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        with pytest.raises(DeadlineExceeded, match="passed"):
            await house.client.submit(BODY, deadline=time.time() - 1)
