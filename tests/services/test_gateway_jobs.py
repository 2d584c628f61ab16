"""Durable jobs through gRPC: accepted once per id, followed to their end, cancelled or not."""

import asyncio
import hashlib
import time
from dataclasses import replace

import grpc
import numpy as np
import pytest

from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.contracts import frame, subjects, wire
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import (
    InferBody,
    JobEvent,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    Status,
    TrainBody,
)
from shared.contracts.wire import jobs
from shared.tensors import layouts
from tests.services.gateway_house import House, opened
from tests.services.waiting import until

pytestmark = pytest.mark.usefixtures("front")

BODY = OperatorBody(operator="relu")
X = {"x": layouts.dense(np.array([[-1, 2]], np.float32))}


def framed(job: str = "j1", body: object = BODY, **fields: object) -> bytes:
    return frame.encode(JobSubmitted(job=job, body=body, **fields), X)


async def call(house: House, name: str, **fields: object) -> object:
    rpc = wire.rpcs(wire.JOBS)[name]
    options = {"timeout": fields.pop("timeout")} if "timeout" in fields else {}
    data = await house.raw(rpc.path, rpc.request(**fields).SerializeToString(), **options)
    return rpc.response.FromString(data)


async def refused(house: House, name: str, **fields: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(house, name, **fields)
    return caught.value


async def finish(house: House, job: str = "j1", **changes: object) -> bytes:
    """Write the record as a worker would."""
    record = JobFinished(job=job, tenant="default", kind="operator", status=Status.SUCCEEDED)
    data = frame.encode(record.model_copy(update=changes), X)
    assert await house.bus.write_result(subjects.result("default", job), data)
    return data


async def queued(house: House) -> int:
    return await house.bus.pending(Stream.JOBS, "sched")


async def test_accepted_job_is_stored_with_the_same_bytes(memory: MemoryBroker) -> None:
    data = framed()

    async with opened(memory) as house:
        receipt = await call(house, "Submit", frame=data)
        stored = await house.bus.message(Stream.JOBS, receipt.sequence)

    assert (stored.subject, stored.data) == (subjects.job("default", "operator"), data)
    assert receipt.digest == hashlib.sha256(data).hexdigest()
    assert (receipt.job, receipt.tenant, receipt.duplicate) == ("j1", "default", False)


async def test_same_id_with_the_same_bytes_is_the_same_job(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        receipts = await asyncio.gather(*(call(house, "Submit", frame=framed()) for _ in range(8)))

        assert await queued(house) == 1
    assert sum(not receipt.duplicate for receipt in receipts) == 1
    assert len({receipt.digest for receipt in receipts}) == 1


async def test_job_that_makes_its_model_is_accepted_before_there_is_one(
    memory: MemoryBroker,
) -> None:
    body = TrainBody(model="made", method="stdp")

    async with opened(memory) as house:
        await call(house, "Submit", frame=framed(body=body))

        assert await queued(house) == 1


@pytest.mark.parametrize("stage", ["queued", "consumed", "finished"])
async def test_same_id_with_other_bytes_is_refused_with_both_digests(
    memory: MemoryBroker, stage: str
) -> None:
    first, second = framed(priority=1), framed(priority=2)
    digests = [hashlib.sha256(data).hexdigest() for data in (first, second)]

    async with opened(memory) as house:
        receipt = await call(house, "Submit", frame=first)
        if stage != "queued":
            await house.bus.delete(Stream.JOBS, receipt.sequence)
        if stage == "finished":
            await finish(house, digest=digests[0])
        error = await refused(house, "Submit", frame=second)

    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert error.details().startswith("[EL-1204] ")
    assert all(digest in error.details() for digest in digests)


async def test_id_of_a_job_published_without_the_gateway_is_taken(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        subject = subjects.job("default", "operator")
        await house.bus.publish_once(subject, framed(priority=1), message_id="default.j1")
        same = await call(house, "Submit", frame=framed(priority=1))
        error = await refused(house, "Submit", frame=framed(priority=2))

        assert await queued(house) == 1
    assert same.duplicate
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS


def deep() -> bytes:
    return b'{"type":' + b"[" * 100_000


def claiming() -> bytes:
    return (200 * 2**20).to_bytes(8, "little") + b"{}"


BAD_FRAMES = [
    (b"", "EL-1101"),
    (b"{", "EL-1101"),
    (b"\x80\x04pickle", "EL-1101"),
    (deep(), "EL-1101"),
    (claiming(), "EL-1101"),
    (b'{"type":"jobs.submitted.v1","job":"a/b","body":{"kind":"infer"}}', "EL-1101"),
    (b'{"type":"jobs.submitted.v1","job":"a","body":{"kind":"unheard"}}', "EL-1101"),
    (framed()[:-4], "EL-1102"),
    (framed(deadline=1.0), "EL-1206"),
    (framed(body=InferBody(model="nothing")), "EL-1201"),
    (framed(body=TrainBody(model="nothing")), "EL-1201"),
]


@pytest.mark.parametrize(("data", "code"), BAD_FRAMES, ids=range(len(BAD_FRAMES)))
async def test_bad_frame_is_refused_and_nothing_is_stored(
    memory: MemoryBroker, data: bytes, code: str
) -> None:
    async with opened(memory) as house:
        error = await refused(house, "Submit", frame=data)

        assert await queued(house) == 0
    assert dict(error.trailing_metadata())["ellesmere-code"] == code
    assert error.details().startswith(f"[{code}] ")


async def test_job_for_another_tenant_than_the_caller_is_refused(memory: MemoryBroker) -> None:
    path = wire.rpcs(wire.JOBS)["Submit"].path
    data = jobs.SubmitRequest(frame=framed(tenant="acme")).SerializeToString()

    async with opened(memory) as house:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.raw(path, data, metadata=(("ellesmere-tenant", "other"),))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_result_waits_for_the_record_and_gives_its_bytes(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        waiting = asyncio.ensure_future(call(house, "Result", job="j1"))
        data = await finish(house)
        answer = await waiting
        again = await call(house, "Result", job="j1")

    assert answer.frame == again.frame == data


async def test_result_within_a_deadline_that_passes_is_deadline_exceeded(
    memory: MemoryBroker,
) -> None:
    async with opened(memory, limits=replace(Limits(), result=0.05)) as house:
        await call(house, "Submit", frame=framed())
        error = await refused(house, "Result", job="j1")

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details().startswith("[EL-1206] ")


@pytest.mark.parametrize("name", ["Result", "Cancel"])
async def test_unknown_job_is_not_found(memory: MemoryBroker, name: str) -> None:
    async with opened(memory, limits=replace(Limits(), settle=0.01)) as house:
        error = await refused(house, name, job="never")
        misnamed = await refused(house, name, job="a.b")

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert misnamed.code() is grpc.StatusCode.INVALID_ARGUMENT


def event(what: str, **fields: object) -> JobEvent:
    return JobEvent(job="j1", tenant="default", what=what, at=time.time(), **fields)


async def watch(house: House, job: str = "j1") -> list[JobEvent | JobFinished]:
    return [item async for item in house.client.watch(job)]


async def test_watch_tells_the_past_then_the_present_then_the_end(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        placed = event("placed", worker_class="cpu").encode()
        await house.bus.publish(subjects.audit("default", "j1", "placed"), placed)
        seen: list[JobEvent | JobFinished] = []
        async for item in house.client.watch("j1"):
            seen.append(item)
            if len(seen) == 2:
                progress = event("progress", done=0.5).encode()
                await house.bus.publish(subjects.event("default", "j1", "progress"), progress)
            if len(seen) == 3:
                await finish(house)

    whats = [item.what for item in seen if isinstance(item, JobEvent)]
    assert whats == ["accepted", "placed", "progress"]
    assert isinstance(seen[-1], JobFinished)
    assert seen[-1].status is Status.SUCCEEDED


async def test_acceptance_that_is_announced_twice_is_told_once(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        again = event("accepted", digest="d" * 64).encode()
        await house.bus.publish(subjects.audit("default", "j1", "accepted"), again)
        await finish(house)
        seen = await watch(house)

    assert [item.what for item in seen if isinstance(item, JobEvent)] == ["accepted"]


async def test_end_that_gateway_and_scheduler_announce_is_told_once(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        for reason in ("cancelled", "cancelled: EL-1205"):
            ended = event("ended", reason=reason).encode()
            await house.bus.publish(subjects.audit("default", "j1", "ended"), ended)
        await finish(house)
        seen = await watch(house)

    assert [item.what for item in seen if isinstance(item, JobEvent)] == ["accepted", "ended"]


async def test_a_lost_announcement_does_not_lose_the_outcome(memory: MemoryBroker) -> None:
    async with opened(memory, limits=replace(Limits(), poll=0.02)) as house:
        await call(house, "Submit", frame=framed())
        pending = asyncio.ensure_future(watch(house))
        hears = subjects.done("default", "j1")
        await until(lambda: any(each.pattern == hears for each in memory.listeners))
        for each in [each for each in memory.listeners if each.pattern == hears]:
            await each.stop()
        await finish(house)
        seen = await pending

    assert isinstance(seen[-1], JobFinished)


async def test_watch_of_an_unknown_job_is_not_found(memory: MemoryBroker) -> None:
    async with opened(memory, limits=replace(Limits(), settle=0.01)) as house:
        stream = house.channel.unary_stream(wire.rpcs(wire.JOBS)["Watch"].path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [_ async for _ in stream(jobs.WatchRequest(job="never").SerializeToString())]

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watcher_that_leaves_takes_its_subscriptions_along(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        before = len(memory.listeners)
        stream = house.channel.unary_stream(wire.rpcs(wire.JOBS)["Watch"].path)
        open_call = stream(jobs.WatchRequest(job="j1").SerializeToString())
        await open_call.read()
        during = len(memory.listeners)
        open_call.cancel()
        await until(lambda: len(memory.listeners) <= before)

    assert during == before + 2


async def test_cancel_ends_a_queued_job_and_tells_everybody(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        receipt = await call(house, "Submit", frame=framed())
        told: list[bytes] = []
        await house.bus.subscribe(subjects.cancel("j1"), lambda message: told.append(message.data))
        answer = await call(house, "Cancel", job="j1")
        record = JobFinished.decode(answer.finished_json.encode())
        wish = await house.bus.get(Bucket.CONTROL, "cancel.j1")

        assert await queued(house) == 0
    assert answer.cancelled
    assert (record.status, record.kind, record.failure.code) == (
        Status.CANCELLED,
        "operator",
        "EL-1205",
    )
    assert record.digest == receipt.digest
    assert (told, wish.value) == ([b"default"], b"default")


async def test_cancel_after_the_end_changes_nothing(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        data = await finish(house)
        answer = await call(house, "Cancel", job="j1")
        stored = await house.bus.last(Stream.RESULTS, subjects.result("default", "j1"))

    assert not answer.cancelled
    assert JobFinished.decode(answer.finished_json.encode()).status is Status.SUCCEEDED
    assert stored.data == data


async def test_cancelled_id_with_the_same_bytes_is_still_the_same_job(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        await call(house, "Submit", frame=framed())
        await call(house, "Cancel", job="j1")
        again = await call(house, "Submit", frame=framed())

        assert await queued(house) == 0
    assert again.duplicate


async def test_blob_comes_back_as_it_was_stored(memory: MemoryBroker) -> None:
    content = np.random.default_rng(1).bytes(3 * 2**20 + 5)

    async with opened(memory) as house:
        ref = await house.client.upload(content)
        back = await house.client.download(ref)

    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert back == content


async def test_upload_over_the_limit_is_refused_and_gives_its_memory_back(
    memory: MemoryBroker,
) -> None:
    async with opened(memory, limits=replace(Limits(), blob=2**20)) as house:
        path = wire.rpcs(wire.JOBS)["Upload"].path
        piece = jobs.UploadRequest(chunk=b"\0" * 2**20).SerializeToString()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.channel.stream_unary(path)(iter([piece, piece]))

        assert house.gateway.app._admission.held == 0
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details().startswith("[EL-1108] ")
