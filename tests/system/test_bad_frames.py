"""Frames that are no jobs: dead letters with their reason; refused before that over gRPC."""

import json

import numpy as np
import pytest
from nats.errors import MaxPayloadError
from nats.js.errors import APIError, NoStreamResponseError

from shared.client.client import Client
from shared.contracts.errors import InvalidMessage, InvalidTensor, SuiteError, TooLarge
from shared.contracts.v1.jobs import OperatorBody, Status
from shared.tensors import layouts
from tests.system import frames
from tests.system.nats_user import User
from tests.system.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("unharmed")]
X = {"x": layouts.dense(np.array([[-1, 2]], np.float32))}


async def works(stack: Running) -> bool:
    """Whether the next good job is done."""
    async with Client(stack.grpc) as client:
        receipt = await client.submit(OperatorBody(operator="relu"), X)
        record, tensors = await client.result(receipt.job, timeout=20)
    return record.status is Status.SUCCEEDED and tensors["y"].values.tolist() == [[0, 2]]


async def test_unreadable_frames_become_dead_letters_with_their_reasons(
    stack: Running, user: User
) -> None:
    for bad in frames.UNREADABLE.values():
        await user.publish(bad.content)

    for name, bad in frames.UNREADABLE.items():
        letter = await user.letter(bad.content)
        assert letter.subject == "el.v1.dlq.EL_JOBS.malformed", name
        assert bad.reason in (letter.headers or {})["El-Error"], name
    assert await works(stack)


async def test_wrong_field_fails_the_job_that_the_frame_names(stack: Running, user: User) -> None:
    for bad in frames.NAMED.values():
        await user.publish(bad.content)

    for name, bad in frames.NAMED.items():
        failure = (await user.record(bad.job))["failure"]
        letter = await user.letter(bad.content)
        assert failure["code"] == "EL-1101", name
        assert bad.reason in failure["message"], name
        assert failure["fix"], name
        assert bad.reason in (letter.headers or {})["El-Error"], name
    assert await works(stack)


async def test_broken_tensors_fail_the_job_and_its_frame_is_kept(
    stack: Running, user: User
) -> None:
    for bad in frames.BROKEN.values():
        await user.publish(bad.content)

    for name, bad in frames.BROKEN.items():
        failure = (await user.record(bad.job))["failure"]
        letter = await user.letter(bad.content)
        assert failure["code"] == "EL-1102", name
        assert bad.reason in failure["message"], name
        assert letter.subject == "el.v1.dlq.EL_RUN.malformed", name
        assert bad.reason in (letter.headers or {})["El-Error"], name
    assert await works(stack)


async def test_subject_must_name_the_tenant_and_kind_of_the_body(
    stack: Running, user: User
) -> None:
    await user.publish(frames.plain("elsewhere"), kind="infer")
    await user.publish(frames.plain("foreign", tenant="somebody"))

    for job in ("elsewhere", "foreign"):
        failure = (await user.record(job))["failure"]
        assert failure["code"] == "EL-1101"
        assert "the body says tenant" in failure["message"]
    for subject in ("el.v1.job.hostile", "el.v1.job.hostile.operator.more"):
        with pytest.raises(NoStreamResponseError):
            await user.client.jetstream().publish(subject, frames.plain("lost"))
    assert await works(stack)


async def test_same_frames_are_refused_over_grpc_before_they_are_stored(stack: Running) -> None:
    async def refusal(client: Client, content: bytes) -> SuiteError:
        with pytest.raises((InvalidMessage, InvalidTensor)) as caught:
            await client.submit_frame(content)
        return caught.value

    async with Client(stack.grpc, tenant=frames.TENANT) as client:
        for name, bad in {**frames.UNREADABLE, **frames.NAMED, **frames.BROKEN}.items():
            error = await refusal(client, bad.content)
            assert bad.reason in str(error), name
            assert error.code == ("EL-1102" if name in frames.BROKEN else "EL-1101"), name
        assert "at most 1048576 bytes" in str(await refusal(client, frames.MANY))
    assert await works(stack)


async def test_frame_over_the_limits_is_refused_where_it_is_published(
    stack: Running, user: User
) -> None:
    large = frames.plain("large") + b" " * (600 * 2**10)

    with pytest.raises(APIError, match="maximum"):
        await user.publish(large)  # over what the stream takes
    with pytest.raises(MaxPayloadError):
        await user.publish(large + b" " * (8 * 2**20))  # over what the broker takes
    async with Client(stack.grpc, tenant=frames.TENANT) as client:
        with pytest.raises(TooLarge, match=str(len(large))):
            await client.submit_frame(large)
        with pytest.raises(TooLarge, match=str(16 * 2**20)):
            await client.submit_frame(large + b" " * (17 * 2**20))
        with pytest.raises(TooLarge):
            await client.submit_frame(bytes(40 * 2**20))  # over what the transport takes
        assert await client.live()
    assert await works(stack)


async def test_blob_that_is_no_container_fails_its_job(stack: Running, user: User) -> None:
    async with Client(stack.grpc, tenant=frames.TENANT) as client:
        blob = await client.upload(frames.MANY)
    ref = {"blob": blob.model_dump(), "dtype": "f32", "shape": [1]}

    await user.publish(json.dumps(frames.message("many", tensors={"x": ref})).encode())

    failure = (await user.record("many"))["failure"]
    assert failure["code"] == "EL-1102"
    assert "blob of tensor 'x': a header has at most 1048576 bytes" in failure["message"]
    assert await works(stack)
