"""HTTP/2 front, frame by frame. Ends: resets, lost connections, deadlines, stopping."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import anyio
import pytest

from services.gateway.faults import Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import connection, frames
from services.gateway.http2.frames import Code
from services.gateway.limits import MIB, Limits
from tests.services.http2_methods import ECHO, Held
from tests.services.http2_peer import UP, WINDOW, Peer, connected, served


async def test_a_reset_cancels_its_method_and_no_other() -> None:
    held = Held()
    async with served(held.methods) as server, connected(server) as peer:
        peer.call(1)
        await held.wait(held.started)
        peer.call(3, b"hello")
        peer.put(frames.reset(1, Code.CANCEL))
        await held.wait(held.cancelled)
        held.go.set()
        answer = await peer.answer(3)

    assert answer.messages == [b"hello"]


async def test_a_lost_connection_cancels_its_methods() -> None:
    held = Held()
    async with served(held.methods) as server, connected(server) as peer:
        peer.call(1)
        await held.wait(held.started)
        peer.writer.transport.abort()
        await held.wait(held.cancelled)


async def test_the_deadline_cancels_the_method_and_says_so() -> None:
    held = Held()
    async with served(held.methods) as server, connected(server) as peer:
        peer.call(1, grpc_timeout="50m")
        answer = await peer.answer()
        await held.wait(held.cancelled)

    assert answer.end["grpc-status"] == str(Status.DEADLINE_EXCEEDED.value)
    assert answer.end["ellesmere-code"] == "EL-1206"


async def test_a_deadline_ends_an_answer_that_nobody_takes() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, bytes(200_000), grpc_timeout="50m")
        answer = await peer.answer()

    assert answer.reset is Code.CANCEL


async def test_stopping_lets_open_calls_end_and_takes_no_more() -> None:
    held = Held()
    async with served(held.methods) as server, connected(server) as peer:
        peer.call(1, b"hello")
        await held.wait(held.started)
        stopping = asyncio.ensure_future(server.stop())
        last = int.from_bytes((await peer.until(frames.GOAWAY))[:4])
        peer.call(3, b"too late")
        held.go.set()
        answer = await peer.answer()
        rest = await asyncio.wait_for(peer.reader.read(), 5)
        await peer.close()
        await stopping
        with pytest.raises(OSError, match="Connect"):
            await Peer.connect(server)

    assert last == 1
    assert answer.messages == [b"hello"]
    assert rest == b""
    assert len(held.calls) == 1


async def test_calls_that_do_not_end_in_the_grace_are_told_and_cancelled() -> None:
    held = Held()
    limits = replace(Limits(), drain=0.05)
    async with served(held.methods, limits) as server, connected(server) as peer:
        peer.call(1)
        await held.wait(held.started)
        stopping = asyncio.ensure_future(server.stop())
        await peer.until(frames.GOAWAY)
        answer = await peer.answer()
        await held.wait(held.cancelled)
        await peer.close()
        await stopping

    assert answer.end["grpc-status"] == str(Status.UNAVAILABLE.value)


async def test_a_peer_that_never_reads_is_left_behind_when_the_server_stops() -> None:
    limits = replace(Limits(), drain=0.05)
    async with served(ECHO, limits) as server, connected(server) as peer:
        peer.put(frames.settings({WINDOW: 2**31 - 1}), frames.window_update(0, 2**30))
        peer.call(1, bytes(15 * MIB))
        await peer.until(frames.DATA, 1)
        with anyio.fail_after(5):
            await server.stop()


async def test_a_peer_that_leaves_its_socket_full_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "STALLED", 0.1)
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(frames.settings({WINDOW: 2**31 - 1}), frames.window_update(0, 2**30))
        for number in (1, 3):
            peer.call(number, bytes(15 * MIB))
        (held,) = server._connections
        await asyncio.wait_for(held.lost.wait(), 5)


async def test_a_method_is_cancelled_once_and_may_clean_up() -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def tidy(_call: Call, _requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        try:
            started.set()
            await asyncio.Event().wait()
            yield b""
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    limits = replace(Limits(), message=10)
    async with served(Methods({}, {UP: tidy}), limits) as server, connected(server) as peer:
        peer.put(peer.headers(1, UP))
        await asyncio.wait_for(started.wait(), 5)
        peer.put(peer.message(1, bytes(11)))
        answer = await peer.answer()
        await asyncio.wait_for(cleaned.wait(), 5)

    assert answer.end["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
