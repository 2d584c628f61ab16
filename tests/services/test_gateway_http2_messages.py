"""HTTP/2 front, frame by frame. Messages: limits, compression, bombs."""

import gzip
import zlib
from dataclasses import replace

import pytest

from services.gateway.faults import Status
from services.gateway.http2 import frames
from services.gateway.http2.frames import Code
from services.gateway.limits import MIB, Limits
from tests.services.http2_methods import ECHO, KIB
from tests.services.http2_peer import WINDOW, connected, served


async def test_a_message_over_the_limit_is_refused_before_it_has_come() -> None:
    async with served(ECHO, replace(Limits(), message=MIB)) as server, connected(server) as peer:
        peer.put(peer.headers(1), frames.frame(frames.DATA, 0, 1, b"\0\0\x10\0\1" + bytes(9000)))
        refused = await peer.answer()
        reset = Code(frames.number_of(await peer.until(frames.RST_STREAM, 1)))
        peer.put(frames.frame(frames.DATA, 0, 1, bytes(16000)) * 66)  # was on its way
        peer.call(3, b"hello")
        answer = await peer.answer(3)

    assert refused.end["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
    assert refused.end["ellesmere-code"] == "EL-1108"
    assert reset is Code.NO_ERROR
    assert answer.messages == [b"hello"]


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
@pytest.mark.parametrize("size", [5, 500_000])
async def test_compressed_messages_are_unpacked(encoding: str, pack: object, size: int) -> None:
    plain = bytes(range(256)) * (size // 256) + b"end"
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(frames.settings({WINDOW: 2**30}), frames.window_update(0, 2**20))
        packed = pack(plain)  # type: ignore[operator]  # a function
        peer.put(peer.headers(1, grpc_encoding=encoding), peer.message(1, packed, flag=1))

        assert (await peer.answer()).messages == [plain]


async def test_a_bomb_is_refused_at_the_limit_of_a_message() -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(peer.headers(1, grpc_encoding="gzip"), peer.message(1, bomb, flag=1))
        answer = await peer.answer()

    assert len(bomb) < 100 * KIB
    assert answer.end["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)


@pytest.mark.parametrize(
    ("encoding", "data", "flag"),
    [
        ("gzip", b"this is not gzip", 1),
        ("gzip", gzip.compress(bytes(100), mtime=0)[:-9], 1),
        ("identity", b"x", 1),
        (None, b"x", 1),
        (None, b"x", 2),
    ],
)
async def test_what_does_not_unpack_is_refused(
    encoding: str | None, data: bytes, flag: int
) -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(peer.headers(1, grpc_encoding=encoding), peer.message(1, data, flag=flag))
        answer = await peer.answer()

    assert answer.end["grpc-status"] == str(Status.INVALID_ARGUMENT.value)


async def test_an_unknown_encoding_is_unimplemented_and_the_known_are_named() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, grpc_encoding="snappy")
        answer = await peer.answer()

    assert answer.end["grpc-status"] == str(Status.UNIMPLEMENTED.value)
    assert answer.end["grpc-accept-encoding"] == "identity,gzip,deflate"
