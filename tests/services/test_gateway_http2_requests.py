"""HTTP/2 front, frame by frame. Requests: methods, metadata, shapes, error trailers."""

import asyncio

import pytest

from services.gateway.faults import Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import frames
from services.gateway.http2.frames import Code
from shared.contracts.errors import QueueFull, UnknownModel
from tests.services.http2_methods import ECHO
from tests.services.http2_peer import UNARY, connected, served


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"pseudo_method": "GET"}, "405"),
        ({"content_type": "text/html"}, "415"),
        ({"content_type": "application/grpcx"}, "415"),
        ({"content_type": None}, "415"),
    ],
)
async def test_what_is_no_call_gets_an_http_status(fields: dict[str, str], status: str) -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, **fields)
        answer = await peer.answer()

    assert answer.heads[0][":status"] == status
    assert "grpc-status" not in answer.heads[0]


async def test_an_unknown_method_is_unimplemented() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, path="/other.Service/Call")
        answer = await peer.answer()

    assert answer.end["grpc-status"] == str(Status.UNIMPLEMENTED.value)
    assert "/other.Service/Call" in answer.end["grpc-message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Upper": "case"},
        {"connection": "close"},
        {"te": "gzip"},
        {"pseudo_path": None},
        {"pseudo_scheme": None},
        {"pseudo_unknown": "x"},
        {"grpc_timeout": "soon"},
        {"grpc_timeout": "123456789S"},
    ],
)
async def test_a_misshapen_request_resets_its_stream_alone(fields: dict[str, str]) -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, **fields)
        peer.call(3, b"hello")
        answers = await peer.answers(1, 3)

    assert answers[1].reset is Code.PROTOCOL_ERROR
    assert answers[3].messages == [b"hello"]


async def test_metadata_is_text_and_without_what_is_the_transports() -> None:
    seen: list[Call] = []

    async def note(call: Call, data: bytes) -> bytes:
        seen.append(call)
        return data

    fields = {"x_one": "1", "x_two_bin": "AAE", "grpc_timeout": "7S", "user_agent": "me"}
    async with served(Methods({UNARY: note}, {})) as server, connected(server) as peer:
        peer.call(1, **fields)
        await peer.answer()
        left = seen[0].deadline - asyncio.get_running_loop().time()

    assert seen[0].metadata == {"x-one": "1", "user-agent": "me"}
    assert 5.0 < left <= 7.0


@pytest.mark.parametrize("count", [0, 2])
async def test_a_method_of_one_message_takes_neither_none_nor_two(count: int) -> None:
    async with served(ECHO) as server, connected(server) as peer:
        parts = [peer.message(1, b"x", end=False)] * count
        peer.put(peer.headers(1), *parts, frames.frame(frames.DATA, frames.END_STREAM, 1))
        answer = await peer.answer()

    assert answer.end["grpc-status"] == str(Status.INVALID_ARGUMENT.value)
    assert answer.end["ellesmere-code"] == "EL-1101"


async def test_a_message_that_is_cut_off_is_refused() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(peer.headers(1))
        peer.put(frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x09abc"))
        answer = await peer.answer()

    assert answer.end["grpc-status"] == str(Status.INVALID_ARGUMENT.value)


async def test_trailers_of_a_request_end_it() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(peer.headers(1), peer.message(1, b"hello", end=False))
        peer.put(frames.headers(1, peer.block({"x-checksum": "7"}), end=True))

        assert (await peer.answer()).messages == [b"hello"]


async def test_an_error_is_told_in_trailers_alone_with_its_text_encoded() -> None:
    async def fail(_call: Call, _data: bytes) -> bytes:
        raise UnknownModel("50 % größer\n")

    async with served(Methods({UNARY: fail}, {})) as server, connected(server) as peer:
        peer.call(1)
        answer = await peer.answer()

    assert answer.heads == [
        {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "5",
            "grpc-message": f"[EL-1201] 50 %25 gr%C3%B6%C3%9Fer%0A; fix: {UnknownModel.fix}",
            "ellesmere-code": "EL-1201",
        }
    ]


async def test_full_says_when_to_come_back() -> None:
    async def full(_call: Call, _data: bytes) -> bytes:
        raise QueueFull("no room")

    async with served(Methods({UNARY: full}, {})) as server, connected(server) as peer:
        peer.call(1)
        answer = await peer.answer()

    assert answer.end["ellesmere-code"] == "EL-1207"
    assert int(answer.end["grpc-retry-pushback-ms"]) >= 1
