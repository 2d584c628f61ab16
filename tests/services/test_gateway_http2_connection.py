"""HTTP/2 front, frame by frame. The connection: preface, settings, pings, breaches."""

from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest

from services.gateway.http2 import frames
from services.gateway.http2.frames import Code, Setting
from services.gateway.limits import Limits
from tests.services.http2_methods import ECHO
from tests.services.http2_peer import WINDOW, connected, served


async def test_a_call_is_answered_in_three_frames() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, b"hello")
        answer = await peer.answer()

    kinds = [kind for kind, _flags, number, _payload in peer.seen if number == 1]
    assert kinds == [frames.HEADERS, frames.DATA, frames.HEADERS]
    assert answer.heads == [
        {":status": "200", "content-type": "application/grpc"},
        {"grpc-status": "0"},
    ]
    assert answer.messages == [b"hello"]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"x"])
async def test_what_is_not_http2_is_closed_at_once(garbage: bytes) -> None:
    async with served(ECHO) as server, connected(server, greet=False) as peer:
        peer.put(garbage)

        assert await peer.goaway() is Code.PROTOCOL_ERROR


async def test_half_open_connections_are_closed_in_time_and_calls_go_on() -> None:
    async with served(ECHO, replace(Limits(), handshake=0.3)) as server, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(server, greet=False)) for _ in range(100)]
        for index, peer in enumerate(slow):
            peer.put(frames.PREFACE[: index % 24])
        async with connected(server) as peer:
            peer.call(1, b"hello")
            answer = await peer.answer()
        codes = {await peer.goaway() for peer in slow}

    assert answer.messages == [b"hello"]
    assert codes == {Code.SETTINGS_TIMEOUT}


async def test_first_frame_must_be_settings() -> None:
    async with served(ECHO) as server, connected(server, greet=False) as peer:
        peer.put(frames.PREFACE, frames.frame(frames.PING, 0, 0, bytes(8)))

        assert await peer.goaway() is Code.PROTOCOL_ERROR


async def test_settings_and_pings_are_acknowledged() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        ours = frames.settings_of(await peer.until(frames.SETTINGS))
        await peer.until(frames.SETTINGS, ack=True)
        await peer.ping()

    assert ours[Setting.MAX_CONCURRENT_STREAMS] == Limits().streams
    assert ours[Setting.MAX_HEADER_LIST_SIZE] == Limits().metadata


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frames.data_header(2**21, 0, 1), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 0, b"1234"), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
        (frames.settings({WINDOW: 2**31}), Code.FLOW_CONTROL_ERROR),
        (frames.settings({Setting.MAX_FRAME_SIZE: 100}), Code.PROTOCOL_ERROR),
        (frames.settings({Setting.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),  # idle
        (frames.frame(frames.DATA, frames.PADDED, 1, b""), Code.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\x09abc"), Code.PROTOCOL_ERROR),
        (frames.reset(1, Code.CANCEL), Code.PROTOCOL_ERROR),  # idle
        (frames.window_update(1, 1), Code.PROTOCOL_ERROR),  # idle
        (frames.window_update(0, 0), Code.FLOW_CONTROL_ERROR),
        (frames.window_update(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
        (frames.frame(frames.CONTINUATION, 0, 1, b""), Code.PROTOCOL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 0, b"\x82"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff"), Code.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, 0x2C, 1, b"\x09"), Code.PROTOCOL_ERROR),
        (frames.data_header(2**19, 0, 1)[:3] + b"\1\4\0\0\0\1", Code.ENHANCE_YOUR_CALM),
    ],
)
async def test_a_breach_ends_the_connection_with_its_code(bad: bytes, code: Code) -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(bad)

        assert await peer.goaway() is code


async def test_unknown_frames_settings_and_priorities_are_ignored() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(frames.frame(0xEE, 0xFF, 7, b"what is this"))
        peer.put(frames.frame(frames.SETTINGS, 0, 0, b"\xaa\xaa\0\0\0\1"))
        peer.put(frames.frame(frames.PRIORITY, 0, 3, bytes(5)))
        peer.call(1, b"hello")

        assert (await peer.answer()).messages == [b"hello"]


async def test_padding_and_priority_are_taken_off() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        head = peer.headers(1)[frames.HEADER_BYTES :]
        flags = frames.END_HEADERS | frames.PADDED | frames.PRIORITIZED
        peer.put(frames.frame(frames.HEADERS, flags, 1, b"\x03" + bytes(5) + head + bytes(3)))
        data = peer.message(1, b"hello")[frames.HEADER_BYTES :]
        flags = frames.END_STREAM | frames.PADDED
        peer.put(frames.frame(frames.DATA, flags, 1, b"\xff" + data + bytes(255)))

        assert (await peer.answer()).messages == [b"hello"]


async def test_bytes_may_come_one_by_one() -> None:
    async with served(ECHO) as server, connected(server, greet=False) as peer:
        whole = frames.PREFACE + frames.settings({}) + peer.headers(1) + peer.message(1, b"hello")
        for byte in whole:
            peer.put(bytes([byte]))
            await peer.writer.drain()
            await anyio.lowlevel.checkpoint()

        assert (await peer.answer()).messages == [b"hello"]
