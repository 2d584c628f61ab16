"""ModelInfer through real gRPC: what is answered, and what becomes of calls when workers go."""

import asyncio
from dataclasses import replace

import anyio
import grpc
import numpy as np
import pytest

from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.contracts.wire import inference
from tests.services.gateway_house import (
    DENSE,
    INFER,
    INT8,
    manifest,
    opened,
    refused,
    request,
    trailing,
    y_of,
)
from tests.services.waiting import until

pytestmark = pytest.mark.usefixtures("front")


async def test_raw_contents_are_answered_with_the_product(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        reply = await house.infer(request(np.array([[1, 2, 3, 4]], np.float32), id="seven"))

    assert y_of(reply).tolist() == [[1 + 4, 2 * 2, 3 * 3]]
    assert (reply.id, reply.model_name, reply.model_version) == ("seven", "digits", "dense")
    assert [(o.name, o.datatype, list(o.shape)) for o in reply.outputs] == [
        ("y", "FP32", [1, 3]),
        ("top", "INT64", [1]),
    ]


async def test_typed_contents_are_answered_with_the_same_product(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        reply = await house.infer(request(np.array([[1, 2, 3, 4]], np.float32), typed=True))

    assert y_of(reply).tolist() == [[5, 4, 9]]


async def test_only_requested_outputs_come_in_the_requested_order(memory: MemoryBroker) -> None:
    one, both = request(), request()
    one.outputs.add(name="top")
    both.outputs.add(name="top")
    both.outputs.add(name="y").parameters["binary_data"].bool_param = True

    async with opened(memory) as house:
        first, second = await house.infer(one), await house.infer(both)

    assert [output.name for output in first.outputs] == ["top"]
    assert [output.name for output in second.outputs] == ["top", "y"]


async def test_a_version_names_a_variant_and_none_the_default(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        named = await house.infer(request(model_version="int8"))
        default = await house.infer(request())
        calls = [message[0].artifact for message in house.workers["cpu-1"].messages]

    assert (named.model_version, default.model_version) == ("int8", "dense")
    assert calls == [INT8, DENSE]


async def test_concurrent_callers_get_their_own_rows(memory: MemoryBroker) -> None:
    async with opened(memory) as house:

        async def ask(seed: int) -> tuple[np.ndarray, np.ndarray]:
            x = np.random.default_rng(seed).normal(size=(1 + seed % 3, 4)).astype(np.float32)
            return x, y_of(await house.infer(request(x, id=str(seed))))

        worker = house.workers["cpu-1"]
        worker.open.clear()
        pending = asyncio.gather(*(ask(seed) for seed in range(200)))
        await until(lambda: house.gateway.app._admission.calls >= 200, seconds=10)
        worker.open.set()
        pairs, messages = await pending, worker.messages

    for x, y in pairs:
        assert np.allclose(y, x[:, :3] * [1, 2, 3] + x[:, 3:] * [1, 0, 0], atol=1e-6)
    assert sum(map(len, messages)) == 200
    assert len(messages) < 200  # calls that waited rode together


async def test_unloaded_model_is_unavailable(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.put(manifest(loaded=False), "cpu")
        error = await refused(house, request())

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert trailing(error)["ellesmere-code"] == "EL-1202"


async def test_without_a_worker_the_answer_is_unavailable_at_once(memory: MemoryBroker) -> None:
    async with opened(memory, workers=()) as house:
        with anyio.fail_after(1):
            error = await refused(house, request())

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert trailing(error)["ellesmere-code"] == "EL-1208"


async def test_model_that_no_worker_has_is_not_ready(memory: MemoryBroker) -> None:
    async with opened(memory, workers=()) as house:
        await house.hire("cpu-1", artifacts=("c" * 64,))
        error = await refused(house, request())

    assert trailing(error)["ellesmere-code"] == "EL-1202"


async def test_calls_of_a_killed_worker_go_to_another(memory: MemoryBroker) -> None:
    async with opened(memory, workers=("cpu-1", "cpu-2")) as house:
        await house.infer(request())
        first = next(w for w in house.workers.values() if w.messages)
        await first.die()

        replies = await asyncio.gather(*(house.infer(request()) for _ in range(20)))

    assert [y_of(reply).tolist() for reply in replies] == [[[2, 2, 3]]] * 20


async def test_calls_in_flight_to_a_silent_worker_are_sent_to_another(
    memory: MemoryBroker,
) -> None:
    async with opened(memory, workers=("cpu-1", "cpu-2")) as house:
        await house.infer(request())
        stuck, other = sorted(house.workers.values(), key=lambda w: not w.messages)
        stuck.open.clear()
        before = len(stuck.messages)
        pending = asyncio.ensure_future(house.infer(request()))
        await until(lambda: len(stuck.messages) > before)
        await house.bus.remove("el_workers", stuck.name)  # its card expired
        reply = await pending

    assert y_of(reply).tolist() == [[2, 2, 3]]
    assert len(other.messages) == 1


async def test_last_worker_that_dies_leaves_unavailable(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.workers["cpu-1"].die()
        error = await refused(house, request())

    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_worker_that_refuses_as_full_is_passed_over(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.put(manifest(), "gpu-pocl", "cpu")
        await house.hire("gpu-1", "gpu-pocl", refuse="EL-1207")
        reply = await house.infer(request())

    assert y_of(reply).tolist() == [[2, 2, 3]]
    assert len(house.workers["gpu-1"].messages) == 1


async def test_when_every_class_is_full_the_caller_is_told_when_to_retry(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        house.workers["cpu-1"].refuse = "EL-1207"
        error = await refused(house, request())

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(trailing(error)["grpc-retry-pushback-ms"]) >= 1


async def test_error_of_a_worker_keeps_its_code(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        house.workers["cpu-1"].refuse = "EL-1102"
        error = await refused(house, request())

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "refused by the fake" in error.details()


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 9, b"\x01\0\0\0\0\0\0\0\xc1"])
async def test_garbage_of_a_worker_is_internal_and_says_nothing_of_the_code(
    memory: MemoryBroker, garbage: bytes
) -> None:
    async with opened(memory) as house:
        house.workers["cpu-1"].garbage = garbage
        error = await refused(house, request())

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "Traceback" not in error.details()
    assert ".py" not in error.details()


async def test_timeout_parameter_bounds_the_call(memory: MemoryBroker) -> None:
    message = request()
    message.parameters["timeout"].int64_param = 50_000  # us

    async with opened(memory) as house:
        house.workers["cpu-1"].open.clear()
        error = await refused(house, message)
        house.workers["cpu-1"].open.set()
        reply = await house.infer(request())

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trailing(error)["ellesmere-code"] == "EL-1206"
    assert y_of(reply).shape == (1, 3)


async def test_deadline_of_the_caller_travels_to_the_worker(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.infer(request(), timeout=7.0)
        call = house.workers["cpu-1"].messages[0][0]

    assert 5.0 < call.budget < 8.0  # without a deadline it would be 30


async def test_tenant_over_its_calls_in_hand_is_told_to_wait(memory: MemoryBroker) -> None:
    async with opened(memory, limits=replace(Limits(), calls=2)) as house:
        house.workers["cpu-1"].open.clear()
        pending = [asyncio.ensure_future(house.infer(request())) for _ in range(2)]
        while house.gateway.app._admission.calls < 2:
            await asyncio.wait(pending, timeout=0.01)
        error = await refused(house, request())
        other = asyncio.ensure_future(
            house.infer(request(), metadata=(("ellesmere-tenant", "other"),))
        )
        house.workers["cpu-1"].open.set()
        replies = await asyncio.gather(*pending, other)

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(replies) == 3


async def test_memory_in_flight_is_bounded(memory: MemoryBroker) -> None:
    async with opened(memory, limits=replace(Limits(), in_flight=1000)) as house:
        error = await refused(house, request(np.ones((100, 4), np.float32)))
        reply = await house.infer(request())

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1600" in error.details() or "bytes" in error.details()
    assert y_of(reply).shape == (1, 3)


async def test_stream_answers_each_request_in_order_and_an_error_ends_only_its_own(
    memory: MemoryBroker,
) -> None:
    sent = [request(id="a"), request(id="b", model="none"), request(id="c")]

    async with opened(memory) as house:
        call = house.channel.stream_stream(INFER.replace("ModelInfer", "ModelStreamInfer"))
        stream = call(iter([message.SerializeToString() for message in sent]))
        answers = [inference.ModelStreamInferResponse.FromString(data) async for data in stream]

    assert [answer.infer_response.id for answer in answers] == ["a", "", "c"]
    assert answers[1].error_message.startswith("[EL-1201] no model 'none'")


async def test_bug_in_a_handler_is_internal_and_the_next_call_is_served(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError("secret path /root/x.py")

    async with opened(memory) as house:
        with monkeypatch.context() as patch:
            patch.setattr(type(house.gateway.tables.table), "choose", broken)
            error = await refused(house, request())
        reply = await house.infer(request())

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert y_of(reply).shape == (1, 3)
