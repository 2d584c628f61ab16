"""ModelInfer through real gRPC: what is answered, and how every bad input is refused."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import anyio
import grpc
import numpy as np
import pytest

from services.gateway.limits import MIB, Limits
from shared.bus.memory import MemoryBroker
from shared.contracts.wire import inference
from tests.services.gateway_house import DENSE, INFER, INT8, House, manifest, opened, request
from tests.services.waiting import until

pytestmark = pytest.mark.usefixtures("front")

Request = inference.ModelInferRequest
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def y_of(reply: inference.ModelInferResponse) -> np.ndarray:
    names = [output.name for output in reply.outputs]
    raw = reply.raw_output_contents[names.index("y")]
    return np.frombuffer(raw, np.float32).reshape(-1, 3)


async def refused(house: House, message: Request | bytes) -> grpc.aio.AioRpcError:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await house.raw(INFER, data)
    return caught.value


def trailing(error: grpc.aio.AioRpcError) -> dict[str, str]:
    return dict(error.trailing_metadata())


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


def without_inputs() -> Request:
    return Request(model_name="digits")


def unknown_input() -> Request:
    message = request()
    message.inputs[0].name = "z"
    return message


def twice_the_same_input() -> Request:
    message = request()
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])
    return message


def of_datatype(datatype: str) -> Callable[[], Request]:
    def build() -> Request:
        message = request()
        message.inputs[0].datatype = datatype
        return message

    return build


def of_shape(*shape: int) -> Callable[[], Request]:
    def build() -> Request:
        message = request()
        message.inputs[0].shape[:] = shape
        return message

    return build


def raw_and_typed() -> Request:
    message = request()
    message.inputs[0].contents.fp32_contents.extend([1, 1, 1, 1])
    return message


def in_the_wrong_list() -> Request:
    message = request(typed=True)
    message.inputs[0].contents.fp64_contents.append(1.0)
    return message


def one_raw_entry_too_many() -> Request:
    message = request()
    message.raw_input_contents.append(b"")
    return message


def unknown_output() -> Request:
    message = request()
    message.outputs.add(name="z")
    return message


def output_twice() -> Request:
    message = request()
    message.outputs.add(name="y")
    message.outputs.add(name="y")
    return message


def in_shared_memory() -> Request:
    message = request()
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    return message


def negative_timeout() -> Request:
    message = request()
    message.parameters["timeout"].int64_param = -1
    return message


BAD = [
    (lambda: request(model="digit"), MISSING, "EL-1201", "did you mean 'digits'"),
    (lambda: request(model_version="7"), MISSING, "EL-1201", "it has dense, int8"),
    (lambda: request(model="../etc/passwd"), INVALID, "EL-1103", "'../etc/passwd'"),
    (lambda: request(model="Digits"), INVALID, "EL-1103", "'Digits'"),
    (lambda: request(model=""), INVALID, "EL-1103", "''"),
    (lambda: request(model_version="../7"), INVALID, "EL-1103", "'../7'"),
    (without_inputs, INVALID, "EL-1102", "input 'x' is missing"),
    (unknown_input, INVALID, "EL-1102", "no input 'z'; known: x"),
    (twice_the_same_input, INVALID, "EL-1102", "input 'x' comes twice"),
    (of_datatype("INT32"), INVALID, "EL-1102", "input 'x' is FP32, got INT32"),
    (of_datatype("FP64"), INVALID, "EL-1102", "is 32 bytes, got 16"),
    (of_datatype("FP99"), INVALID, "EL-1102", "no datatype 'FP99'"),
    (of_datatype("BYTES"), grpc.StatusCode.UNIMPLEMENTED, "EL-1106", "BYTES"),
    (of_shape(1, 3), INVALID, "EL-1102", "is 12 bytes, got 16"),
    (of_shape(2, 2), INVALID, "EL-1102", "has shape [-1, 4] (-1 is the batch), got [2, 2]"),
    (of_shape(4), INVALID, "EL-1102", "got [4]"),
    (of_shape(0, 4), INVALID, "EL-1102", "sizes start at 1"),
    (of_shape(-1, 4), INVALID, "EL-1102", "sizes start at 1"),
    (of_shape(2**62, 2**62, 2**62), INVALID, "EL-1102", "got 16"),
    (of_shape(*[1] * 40), INVALID, "EL-1102", "40 dimensions"),
    (raw_and_typed, INVALID, "EL-1102", "exclude each other"),
    (in_the_wrong_list, INVALID, "EL-1102", "belong in fp32_contents"),
    (one_raw_entry_too_many, INVALID, "EL-1102", "1 inputs, but 2 raw_input_contents"),
    (unknown_output, INVALID, "EL-1102", "no output 'z'"),
    (output_twice, INVALID, "EL-1102", "output 'y' comes twice"),
    (in_shared_memory, INVALID, "EL-1102", "shared_memory_region is not served"),
    (negative_timeout, INVALID, "EL-1101", "'timeout'"),
    (lambda: b"\xff\xff\xff", INVALID, "EL-1101", "do not parse"),
]


async def test_every_bad_request_is_refused_with_code_sentence_and_fix(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        for build, status, code, words in BAD:
            error = await refused(house, build())

            assert (error.code(), trailing(error)["ellesmere-code"]) == (status, code), words
            assert error.details().startswith(f"[{code}] "), words
            assert words in error.details()
            assert "; fix: " in error.details()
        assert not house.workers["cpu-1"].messages
        assert house.gateway.app._admission.held == 0


async def test_nan_is_refused_with_the_index_of_the_first(memory: MemoryBroker) -> None:
    x = np.ones((2, 4), np.float32)
    x[1, 2], x[1, 3] = np.nan, np.inf

    async with opened(memory) as house:
        error = await refused(house, request(x))

    assert trailing(error)["ellesmere-code"] == "EL-1107"
    assert "flat index 6 of shape [2, 4]" in error.details()


async def test_nan_passes_when_the_model_says_so(memory: MemoryBroker) -> None:
    x = np.full((1, 4), np.nan, np.float32)

    async with opened(memory) as house:
        await house.put(manifest(nan_policy="pass"), "cpu")
        reply = await house.infer(request(x))

    assert np.isnan(y_of(reply)).all()


@pytest.mark.parametrize("size", [17 * MIB, 40 * MIB])
async def test_connection_survives_an_oversize_message(memory: MemoryBroker, size: int) -> None:
    async with opened(memory) as house:
        error = await refused(house, b"\0" * size)
        reply = await house.infer(request())

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert y_of(reply).shape == (1, 3)


async def test_inputs_over_the_lane_are_too_large(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        error = await refused(house, request(np.ones((5 * MIB // 16, 4), np.float32)))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailing(error)["ellesmere-code"] == "EL-1108"


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

    assert error.code() is INVALID
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
