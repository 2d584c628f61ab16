"""HTTP/2 front, frame by frame. Many calls at once: limits, floods, both directions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import pytest

from services.gateway.faults import Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import frames
from services.gateway.http2.frames import Code
from services.gateway.limits import Limits
from shared.contracts.errors import QueueFull
from tests.services.http2_methods import Held
from tests.services.http2_peer import BOTH, DOWN, UNARY, UP, connected, served
from tests.services.waiting import until


async def test_a_hundred_calls_share_a_connection_and_end_in_any_order() -> None:
    waiting: dict[bytes, asyncio.Event] = {}

    async def wait(_call: Call, data: bytes) -> bytes:
        waiting[data] = asyncio.Event()
        await waiting[data].wait()
        return data

    async with served(Methods({UNARY: wait}, {})) as server, connected(server) as peer:
        numbers = range(1, 201, 2)
        for number in numbers:
            peer.call(number, str(number).encode())
        await peer.ping()
        await until(lambda: len(waiting) >= 100)
        for event in reversed(waiting.values()):
            event.set()
        answers = await peer.answers(*numbers)

    assert {n: answer.messages for n, answer in answers.items()} == {
        n: [str(n).encode()] for n in numbers
    }


async def test_streams_over_the_limit_are_refused_and_may_be_tried_again() -> None:
    held = Held()
    limits = replace(Limits(), streams=2)
    async with served(held.methods, limits) as server, connected(server) as peer:
        for number in (1, 3, 5):
            peer.call(number)
        refused = await peer.answer(5)
        held.go.set()
        await peer.answers(1, 3)
        peer.call(7, b"again")
        again = await peer.answer(7)

    assert refused.reset is Code.REFUSED_STREAM
    assert again.messages == [b"again"]


@pytest.mark.parametrize(
    "useless",
    [
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.settings({}),
        frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
        frames.frame(0xEE, 0, 0),
        frames.frame(frames.DATA, 0, 1),
    ],
    ids=["ping", "settings", "priority", "unknown", "empty data"],
)
async def test_a_flood_of_frames_that_bring_nothing_ends_the_connection(useless: bytes) -> None:
    held = Held()
    async with served(held.methods) as server, connected(server) as peer:
        peer.put(peer.headers(1))
        peer.put(useless * 50_000)

        assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


async def test_rapid_resets_end_the_connection_and_every_call() -> None:
    running = 0

    async def count(_call: Call, _data: bytes) -> bytes:
        nonlocal running
        running += 1
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1
        return b""

    async with served(Methods({UNARY: count}, {})) as server, connected(server) as peer:
        for number in range(1, 20_000, 2):
            peer.call(number)
            peer.put(frames.reset(number, Code.CANCEL))
        code = await peer.goaway()

    assert code is Code.ENHANCE_YOUR_CALM
    assert running == 0


async def test_both_sides_may_talk_at_once() -> None:
    async def back(_call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        async for data in requests:
            yield data.upper()

    async with served(Methods({}, {BOTH: back})) as server, connected(server) as peer:
        peer.put(peer.headers(1, BOTH))
        got = []
        for word in (b"a", b"b", b"c"):
            peer.put(peer.message(1, word, end=False))
            got.append(await peer.until(frames.DATA, 1))
        peer.put(frames.frame(frames.DATA, frames.END_STREAM, 1))
        answer = await peer.answer()

    assert [data[5:] for data in got] == [b"A", b"B", b"C"]
    assert answer.end == {"grpc-status": "0"}


async def test_a_method_that_is_done_early_stops_the_sender() -> None:
    async def first(_call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        yield await anext(requests)

    async with served(Methods({}, {UP: first})) as server, connected(server) as peer:
        peer.put(peer.headers(1, UP), peer.message(1, b"one", end=False))
        answer = await peer.answer()
        reset = Code(frames.number_of(await peer.until(frames.RST_STREAM, 1)))

    assert answer.messages == [b"one"]
    assert reset is Code.NO_ERROR


async def test_an_error_after_the_first_answer_comes_in_trailers() -> None:
    async def broken(_call: Call, _requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        yield b"one"
        raise QueueFull("no more")

    async with served(Methods({}, {DOWN: broken})) as server, connected(server) as peer:
        peer.call(1, path=DOWN)
        answer = await peer.answer()

    assert answer.messages == [b"one"]
    assert answer.end["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)


async def test_a_method_that_cancels_itself_is_answered() -> None:
    async def cancelled(_call: Call, _data: bytes) -> bytes:
        raise asyncio.CancelledError

    async with served(Methods({UNARY: cancelled}, {})) as server, connected(server) as peer:
        peer.call(1)
        answer = await peer.answer()

    assert answer.end["grpc-status"] == str(Status.INTERNAL.value)
