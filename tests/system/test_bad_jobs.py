"""Durable jobs that cannot or must not be done: one record each, and the first one stands."""

import asyncio
import hashlib
import time

import numpy as np
import pytest

from shared.client.client import Client
from shared.contracts.errors import (
    DeadlineExceeded,
    InvalidMessage,
    InvalidName,
    JobIdReused,
    UnknownJob,
    UnknownModel,
)
from shared.contracts.v1.jobs import InferBody, JobEvent, OperatorBody, Status
from shared.tensors import layouts
from tests.system import frames
from tests.system.frames import TENANT
from tests.system.nats_user import User
from tests.system.networks import Classifier
from tests.system.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("unharmed")]
NOBODY = "nobody"  # a class that no worker serves: its jobs wait
RELU = OperatorBody(operator="relu")
SLOW = OperatorBody(operator="gemm_f32", repeat=10_000)  # a minute or so of work
X = {"x": layouts.dense(np.array([[-1, 2]], np.float32))}
SQUARE = layouts.dense(np.ones((512, 512), np.float32))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_same_id_with_another_body_is_refused_with_both_digests(stack: Running) -> None:
    first, other = frames.plain("once", worker_class=NOBODY), frames.plain("once")

    async with Client(stack.grpc, tenant=TENANT) as client:
        accepted = await client.submit_frame(first)
        again = await client.submit_frame(first)
        with pytest.raises(JobIdReused) as caught:
            await client.submit_frame(other)
        await client.cancel("once")
        with pytest.raises(JobIdReused):
            await client.submit_frame(other)

    assert (accepted.duplicate, again.duplicate) == (False, True)
    assert sha256(first) in str(caught.value)
    assert sha256(other) in str(caught.value)


async def test_same_id_with_another_body_over_nats_becomes_a_dead_letter(
    stack: Running, user: User
) -> None:
    first, other = frames.plain("twin", worker_class=NOBODY), frames.plain("twin")
    await user.publish(first)
    await user.publish(other)

    letter = await user.letter(other)

    said = (letter.headers or {})["El-Error"]
    assert letter.subject == "el.v1.dlq.EL_JOBS.job_id_reused"
    assert sha256(first) in said
    assert sha256(other) in said
    assert await user.ending("twin") is None
    async with Client(stack.grpc, tenant=TENANT) as client:
        assert (await client.cancel("twin")).digest == sha256(first)


async def test_job_cancelled_before_a_worker_has_it_never_starts(
    stack: Running, user: User
) -> None:
    async with Client(stack.grpc, tenant=TENANT) as client:
        await client.submit(RELU, X, job_id="early", worker_class=NOBODY)
        record = await client.cancel("early")
        told = [item async for item in client.watch("early", timeout=10)]

    assert record.status is Status.CANCELLED
    assert [item.what for item in told if isinstance(item, JobEvent)] == ["accepted", "ended"]
    assert (await user.record("early"))["failure"]["code"] == "EL-1205"


async def test_running_job_is_cancelled_and_its_worker_goes_on(stack: Running) -> None:
    tensors = {"x": SQUARE, "weight": SQUARE}

    async with Client(stack.grpc, tenant=TENANT) as client:
        await client.submit(SLOW, tensors, job_id="midway", worker_class="cpu")
        async for item in client.watch("midway", timeout=20):
            if isinstance(item, JobEvent) and item.what == "started":
                began = time.monotonic()
                assert (await client.cancel("midway")).status is Status.CANCELLED
        took = time.monotonic() - began
        record, _ = await client.result("midway", timeout=5)
        await client.submit(RELU, X, job_id="after", worker_class="cpu")
        after, _ = await client.result("after", timeout=10)

    assert took < 5.0
    assert record.status is Status.CANCELLED
    assert after.status is Status.SUCCEEDED


async def test_cancel_after_the_end_changes_nothing(stack: Running) -> None:
    async with Client(stack.grpc, tenant=TENANT) as client:
        await client.submit(RELU, X, job_id="over")
        done, _ = await client.result("over", timeout=20)
        record = await client.cancel("over")
        with pytest.raises(UnknownJob, match="no job 'never' of tenant 'hostile'"):
            await client.cancel("never")
        with pytest.raises(InvalidName, match=r"'\.\./x' must match"):
            await client.cancel("../x")

    assert record == done.model_copy(update={"tensors": record.tensors})
    assert record.status is Status.SUCCEEDED


async def test_job_past_its_deadline_is_not_begun(stack: Running, user: User) -> None:
    await user.publish(frames.plain("late", deadline=1.0))
    await user.publish(frames.plain("soon", deadline=time.time() + 1.0, worker_class=NOBODY))

    late, soon = await user.record("late"), await user.record("soon")

    for record in (late, soon):
        assert record["status"] == "expired"
        assert record["failure"]["code"] == "EL-1206"
        assert record["failure"]["message"].startswith("deadline passed")
        assert "started" not in record
    async with Client(stack.grpc, tenant=TENANT) as client:
        with pytest.raises(DeadlineExceeded, match="the deadline of job 'past' passed"):
            await client.submit(RELU, X, job_id="past", deadline=1.0)
        with pytest.raises(UnknownJob):
            await client.cancel("past")


async def test_job_that_runs_past_its_deadline_is_stopped(stack: Running) -> None:
    tensors = {"x": SQUARE, "weight": SQUARE}

    async with Client(stack.grpc, tenant=TENANT) as client:
        await client.submit(SLOW, tensors, job_id="long", deadline=time.time() + 1.5)
        record, outputs = await client.result("long", timeout=20)

    assert record.status is Status.EXPIRED
    assert record.failure is not None
    assert record.failure.code == "EL-1206"
    assert outputs == {}


async def test_missing_and_corrupt_blobs_fail_their_jobs_with_the_digest(user: User) -> None:
    absent, spoiled = sha256(b"absent"), sha256(b"spoiled")
    await user.client.jetstream().publish(
        f"el.v1.blob.{spoiled}.0", b"others", headers={"Nats-TTL": "60s"}
    )
    for job, digest in (("absent", absent), ("spoiled", spoiled)):
        ref = {"blob": {"sha256": digest, "size": 6}, "dtype": "f32", "shape": [1]}
        await user.publish(frames.plain(job, tensors={"x": ref}))

    missing = (await user.record("absent"))["failure"]
    corrupt = (await user.record("spoiled"))["failure"]

    assert missing["code"] == corrupt["code"] == "EL-1303"
    assert f"of blob {absent} is not stored" in missing["message"]
    assert f"blob {spoiled}: its 6 stored bytes do not match" in corrupt["message"]


async def test_job_that_fails_on_every_worker_is_buried_with_its_last_error(
    stack: Running, user: User, network: Classifier
) -> None:
    content = frames.plain("hopeless", body={"kind": "infer", "model": "asleep"})
    async with Client(stack.grpc) as client:
        await client.add_model("asleep", network.onnx())
        await client.unload("asleep")
        await user.publish(content, kind="infer")

        record, letter = await user.record("hopeless"), await user.letter(content)
        await client.remove_model("asleep")

    headers = letter.headers or {}
    assert letter.subject == "el.v1.dlq.EL_RUN.attempts"
    assert headers["El-Error"] == "EL-1202: model 'asleep' is unloaded"
    assert headers["El-Attempts"] == "4"
    assert record["status"] == "failed"
    assert record["attempt"] == 4
    assert record["failure"]["code"] == "EL-1301"
    assert "failed on all 4 attempts; the last: EL-1202" in record["failure"]["message"]


async def test_wrong_work_fails_at_once_and_says_what_is_right(user: User) -> None:
    bodies = {
        "operator": ({"kind": "operator", "operator": "rellu"}, "EL-1105", "did you mean relu?"),
        "port": ({"kind": "operator", "operator": "relu"}, "EL-1102", "port 'x' is missing"),
        "model": ({"kind": "infer", "model": "clasifier"}, "EL-1201", "did you mean classifier?"),
        "variant": (
            {"kind": "infer", "model": "classifier", "variant": "int9"},
            *("EL-1201", "no variant 'int9', only dense"),
        ),
        "artifact": ({"kind": "infer", "artifact": "0" * 64}, "EL-1303", "is not stored"),
        "source": (
            {"kind": "import", "model": "empty", "source": {"sha256": "1" * 64, "size": 9}},
            *("EL-1303", "is not stored"),
        ),
    }
    for job, (body, _, _) in bodies.items():
        await user.publish(frames.plain(f"wrong-{job}", body=body), kind=str(body["kind"]))

    for job, (_, code, words) in bodies.items():
        failure = (await user.record(f"wrong-{job}"))["failure"]
        assert failure["code"] == code, (job, failure)
        assert words in failure["message"], job


async def test_small_tensors_whose_product_fits_nowhere_fail_on_every_class(
    stack: Running,
) -> None:
    tall = layouts.dense(np.ones((30_000, 1), np.float32))  # a product of 3.6 GB
    product = OperatorBody(operator="gemm_f32")
    async with Client(stack.grpc, tenant=TENANT) as client:
        cards = [worker.card for worker in (await client.status()).workers]
        for worker_class in {card.worker_class for card in cards if "operator" in card.kinds}:
            tensors = {"x": tall, "weight": tall}
            receipt = await client.submit(product, tensors, worker_class=worker_class)
            record, _ = await client.result(receipt.job, timeout=20)

            assert record.failure is not None
            assert record.failure.code == "EL-1102"
            assert "(30000, 30000), over the limit of 536870912" in record.failure.message


async def test_import_over_nats_under_a_path_is_refused(user: User) -> None:
    source = {"sha256": "1" * 64, "size": 9}
    body = {"kind": "import", "model": "../../etc/cron.d/x", "source": source}
    await user.publish(frames.plain("cron", body=body), kind="import")

    failure = (await user.record("cron"))["failure"]

    assert failure["code"] == "EL-1101"
    assert "body.import.model: String should match pattern" in failure["message"]


async def test_jobs_of_unknown_models_and_foreign_tenants_are_refused_over_grpc(
    stack: Running,
) -> None:
    async with Client(stack.grpc, tenant=TENANT) as client:
        with pytest.raises(UnknownModel, match="did you mean 'classifier'"):
            await client.submit(InferBody(model="clasifier"), job_id="typo")
        with pytest.raises(InvalidMessage, match="tenant 'hostile' submits for tenant 'other'"):
            await client.submit_frame(frames.plain("theft", tenant="other"))
        for job in ("typo", "theft"):
            with pytest.raises(UnknownJob):
                await client.cancel(job)


async def test_crowd_of_bad_and_good_jobs_ends_with_one_record_each(
    stack: Running, user: User
) -> None:
    bad = [frames.plain(f"crowd-{n}", body={"kind": "dance"}) for n in range(20)]
    async with Client(stack.grpc, tenant=TENANT) as client:
        async with asyncio.TaskGroup() as group:
            for number, content in enumerate(bad):
                group.create_task(user.publish(content))
                group.create_task(client.submit(RELU, X, job_id=f"good-{number}"))
        records = [await client.result(f"good-{number}", timeout=20) for number in range(20)]

    assert {record.status for record, _ in records} == {Status.SUCCEEDED}
    for number in range(20):
        assert (await user.record(f"crowd-{number}"))["status"] == "failed"
    mine = [job for job in user.ended if job.startswith(("crowd-", "good-"))]
    assert len(mine) == len(set(mine)) == 40
