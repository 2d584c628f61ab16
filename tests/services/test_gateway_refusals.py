"""ModelInfer through real gRPC: how every bad input is refused."""

from collections.abc import Callable

import grpc
import numpy as np
import pytest

from services.gateway.limits import MIB
from shared.bus.memory import MemoryBroker
from shared.contracts.wire import inference
from tests.services.gateway_house import (
    manifest,
    opened,
    refused,
    request,
    trailing,
    y_of,
)

pytestmark = pytest.mark.usefixtures("front")

Request = inference.ModelInferRequest
INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


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
