"""Inference calls that cannot be answered: a code, a sentence with the value, and no harm done."""

import contextlib
import socket
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from shared.client.client import Client
from shared.contracts import wire
from shared.contracts.wire import inference
from tests.system import calls
from tests.system.calls import ONES, Caller, Refusal, Request, request
from tests.system.networks import INPUTS, Classifier
from tests.system.processes import Running

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("unharmed")]
Status = grpc.StatusCode
INVALID, MISSING = Status.INVALID_ARGUMENT, Status.NOT_FOUND
TOO_MUCH, UNSERVED = Status.RESOURCE_EXHAUSTED, Status.UNIMPLEMENTED
STREAM = f"/{wire.INFERENCE}/ModelStreamInfer"
TYPED = {"fp32_contents": [1.0] * INPUTS}
NAN = np.where(np.arange(INPUTS) == 5, np.nan, ONES).astype(np.float32)


@pytest.fixture
async def caller(stack: Running) -> AsyncIterator[Caller]:
    async with calls.connected(stack.grpc) as connected:
        yield connected


def typed(**contents: object) -> Request:
    """A sound request but for its typed contents."""
    made = request(contents=contents)
    made.ClearField("raw_input_contents")
    return made


def versioned(version: str) -> Request:
    made = request()
    made.model_version = version
    return made


def parameter(name: str, value: int) -> Request:
    made = request()
    made.parameters[name].int64_param = value
    return made


def shared_memory() -> Request:
    made = request()
    made.inputs[0].parameters["shared_memory_region"].string_param = "/dev/mem"
    return made


def twice() -> Request:
    made = request()
    made.inputs.append(made.inputs[0])
    made.raw_input_contents.append(made.raw_input_contents[0])
    return made


def output(name: str) -> Request:
    made = request()
    made.outputs.add(name=name)
    return made


def extra_raw() -> Request:
    made = request()
    made.raw_input_contents.append(b"more")
    return made


NAMED = {  # names of models, versions and tensors
    "unknown model": (request(model="clasifier"), MISSING, "EL-1201", "mean 'classifier'?"),
    "unknown version": (versioned("int9"), MISSING, "EL-1201", "no version 'int9'; it has dense"),
    "path as model": (request(model="../x"), INVALID, "EL-1103", "'../x' must match [a-z0-9]"),
    "absolute path": (request(model="/etc/passwd"), INVALID, "EL-1103", "'/etc/passwd' must"),
    "zero byte": (request(model="a\0b"), INVALID, "EL-1103", r"'a\x00b' must match"),
    "no model": (request(model=""), INVALID, "EL-1103", "'' must match"),
    "long model": (request(model="m" * 65), INVALID, "EL-1103", "{0,63}"),
    "path as version": (versioned("../1"), INVALID, "EL-1103", "'../1' must match"),
    "tensor name": (request(name="xx"), INVALID, "EL-1102", "no input 'xx'; did you mean 'x'?"),
    "input twice": (twice(), INVALID, "EL-1102", "input 'x' comes twice"),
    "no input": (Request(model_name="classifier"), INVALID, "EL-1102", "input 'x' is missing"),
    "output name": (output("score"), INVALID, "EL-1102", "did you mean 'scores'?"),
}
SHAPED = {  # datatypes, shapes and bytes
    "datatype": (
        request(ONES.astype(np.float64), datatype="FP64"),
        INVALID,
        "EL-1102",
        "is FP32, got FP64",
    ),
    "no datatype": (request(datatype="FP33"), INVALID, "EL-1102", "'FP33'; known: BOOL, UINT8"),
    "BYTES": (request(datatype="BYTES"), UNSERVED, "EL-1106", "every network here takes numbers"),
    "shape": (
        request(np.ones((1, 33), np.float32)),
        INVALID,
        "EL-1102",
        "[-1, 32] (-1 is the batch), got [1, 33]",
    ),
    "rank": (request(shape=[1, 1, INPUTS]), INVALID, "EL-1102", "got [1, 1, 32]"),
    "rank 200": (request(shape=[1] * 200), INVALID, "EL-1102", "200 dimensions, at most 16"),
    "negative size": (
        request(shape=[-1, INPUTS]),
        INVALID,
        "EL-1102",
        "[-1, 32]; sizes start at 1",
    ),
    "no rows": (request(shape=[0, INPUTS]), INVALID, "EL-1102", "[0, 32]; sizes start at 1"),
    "overflow": (request(shape=[2**62, 2**62]), INVALID, "EL-1102", "got 128"),
    "bytes": (request(shape=[2, INPUTS]), INVALID, "EL-1102", "256 bytes, got 128"),
    "raw and typed": (request(contents=TYPED), INVALID, "EL-1102", "exclude each other; send one"),
    "more raw": (extra_raw(), INVALID, "EL-1102", "1 inputs, but 2 raw_input_contents"),
    "typed elsewhere": (
        typed(int_contents=[1] * INPUTS),
        INVALID,
        "EL-1102",
        "belong in fp32_contents",
    ),
    "typed short": (typed(fp32_contents=[1.0]), INVALID, "EL-1102", "has 32 elements, got 1"),
    "NaN": (request(NAN), INVALID, "EL-1107", "'x' is not finite at flat index 5 of shape [1, 32]"),
    "shared memory": (shared_memory(), INVALID, "EL-1102", "shared_memory_region is not served"),
    "timeout": (parameter("timeout", -1), INVALID, "EL-1101", "'timeout' must be a whole number"),
    "too many rows": (
        request(np.ones((40_000, INPUTS), np.float32)),
        TOO_MUCH,
        "EL-1108",
        "inputs of 5120000 bytes; at most 4194304",
    ),
}


@pytest.mark.parametrize("rows", [NAMED, SHAPED], ids=["names", "shapes"])
async def test_wrong_calls_are_refused_one_by_one_on_a_connection_that_goes_on(
    caller: Caller,
    network: Classifier,
    rows: dict[str, tuple[Request, Status, str, str]],
) -> None:
    expected = network.scores(ONES)[0]
    for name, (wrong, status, code, words) in rows.items():
        refusal = await caller.refused(wrong)
        assert (refusal.status, refusal.code) == (status, code), (name, refusal)
        assert words in refusal.details, name
        assert "; fix: " in refusal.details, name
        assert refusal.details.startswith(f"[{code}] "), name

        np.testing.assert_allclose(await caller.scores(request()), expected, rtol=1e-4, atol=1e-3)


async def test_bytes_that_are_no_message_are_refused_by_every_method(caller: Caller) -> None:
    nested = b"\x0b" * 200 + b"\x0c" * 200  # groups in groups, deeper than a parser goes
    rpcs = [*wire.rpcs(wire.INFERENCE).values(), *wire.rpcs(wire.JOBS).values()]

    for rpc in rpcs:
        if rpc.path == STREAM:  # there an error is the answer of its request alone
            continue
        for content in (b"\xff" * 40, b"\x0a\x7f", nested):
            refusal = await caller.call(rpc.path, content)
            assert isinstance(refusal, Refusal), rpc.path
            assert (refusal.status, refusal.code) == (INVALID, "EL-1101"), (rpc.path, refusal)
            assert f"{len(content)} bytes do not parse as" in refusal.details, rpc.path

    assert await caller.scores(request())


async def test_bad_request_of_a_stream_is_answered_alone(
    caller: Caller, network: Classifier
) -> None:
    requests = [b"\xff" * 9, request(NAN).SerializeToString(), request().SerializeToString()]

    answers = [
        inference.ModelStreamInferResponse.FromString(answer)
        async for answer in caller.channel.stream_stream(STREAM, *calls.RAW)(iter(requests))
    ]

    garbage, nan, good = answers
    assert "[EL-1101] 9 bytes do not parse as" in garbage.error_message
    assert "[EL-1107]" in nan.error_message
    scores = np.frombuffer(good.infer_response.raw_output_contents[0], np.float32)
    np.testing.assert_allclose(scores, network.scores(ONES)[0], rtol=1e-4, atol=1e-3)


async def test_strangers_and_idlers_on_the_port_keep_nobody_out(
    stack: Running, caller: Caller
) -> None:
    host, _, port = stack.grpc.rpartition(":")
    noise = {"HTTP/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "garbage": b"\xfe" * 4096}

    with contextlib.ExitStack() as idlers:
        for _ in range(100):
            idler = idlers.enter_context(socket.create_connection((host, int(port)), timeout=5))
            idler.sendall(b"PRI * HTTP/2.0")  # and nothing more
        for name, content in noise.items():
            with socket.create_connection((host, int(port)), timeout=5) as stranger:
                stranger.sendall(content)
                assert _ended(stranger), name

        assert await caller.scores(request())


def _ended(stranger: socket.socket) -> bool:
    """Whether the other side closes the connection."""
    try:
        while stranger.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


async def test_message_over_every_limit_is_refused_and_the_connection_goes_on(
    caller: Caller,
) -> None:
    over_ours = await caller.call(calls.INFER, bytes(17 * 2**20))
    over_wire = await caller.call(calls.INFER, bytes(40 * 2**20))
    bomb = await caller.call(calls.INFER, bytes(60 * 2**20), compression=grpc.Compression.Gzip)

    assert isinstance(over_ours, Refusal)
    assert (over_ours.status, over_ours.code) == (TOO_MUCH, "EL-1108")
    assert "17825792 bytes; at most 16777216" in over_ours.details
    for refusal in (over_wire, bomb):
        assert isinstance(refusal, Refusal)
        assert refusal.status is TOO_MUCH
    assert await caller.scores(request())


async def test_wrong_metadata_and_unknown_methods_are_refused(caller: Caller) -> None:
    sound = request().SerializeToString()

    tenant = await caller.call(calls.INFER, sound, metadata=[("ellesmere-tenant", "../x")])
    unknown = await caller.call(f"/{wire.INFERENCE}/ModelDream", sound)
    late = await caller.call(calls.INFER, sound, timeout=1e-6)

    assert isinstance(tenant, Refusal)
    assert (tenant.status, tenant.code) == (INVALID, "EL-1103")
    assert "tenant '../x' must match" in tenant.details
    assert isinstance(unknown, Refusal)
    assert unknown.status is UNSERVED
    assert isinstance(late, Refusal)
    assert late.status is Status.DEADLINE_EXCEEDED
    assert await caller.scores(request())


async def test_model_that_passes_nan_answers_with_nan_where_numpy_would(
    stack: Running, network: Classifier
) -> None:
    x = np.stack([NAN.reshape(INPUTS), ONES.reshape(INPUTS)])

    async with Client(stack.grpc) as client:
        await client.add_model("lenient", network.onnx(), nan_policy="pass")
        outputs = await client.infer("lenient", {"x": x})
        await client.remove_model("lenient")

    np.testing.assert_allclose(outputs["scores"], network.scores(x), rtol=1e-4, atol=1e-3)
