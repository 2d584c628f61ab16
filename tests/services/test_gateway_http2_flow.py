"""HTTP/2 front, frame by frame. Flow control: windows of both sides, backlogs, memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from services.gateway.faults import Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import frames
from services.gateway.http2.exchange import BACKLOG
from services.gateway.http2.frames import Code
from services.gateway.limits import MIB, Limits
from tests.services.http2_methods import ECHO, MEGABYTES_5, Held, echo
from tests.services.http2_peer import DOWN, UNARY, UP, WINDOW, connected, served


async def test_a_reply_of_5_megabytes_fits_through_windows_of_64_kib() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, MEGABYTES_5)
        got, end = b"", False
        room = [frames.DEFAULT_WINDOW, frames.DEFAULT_WINDOW]  # connection, stream
        while not end:
            kind, flags, number, payload = await peer.frame()
            if kind == frames.DATA:
                got += payload
                room = [left - len(payload) for left in room]
                assert min(room) >= 0
                if min(room) < 2**14:
                    peer.put(frames.window_update(0, 50_000), frames.window_update(1, 50_000))
                    room = [left + 50_000 for left in room]
            end = number == 1 and bool(flags & frames.END_STREAM)

    assert got[5:] == MEGABYTES_5


async def test_windows_may_begin_at_nothing_and_shrink_below() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(frames.settings({WINDOW: 0}))
        peer.call(1, bytes(1000))
        await peer.ping()
        assert not [frame for frame in peer.seen if frame[0] == frames.DATA]
        peer.put(frames.settings({WINDOW: 100}))
        first = await peer.until(frames.DATA, 1)
        peer.put(frames.settings({WINDOW: 0}), frames.window_update(1, 100))
        await peer.ping()  # 100 sent, 100 taken away, 100 granted: nothing is left
        peer.put(frames.window_update(1, 905))
        second = await peer.until(frames.DATA, 1)

    assert (len(first), len(second)) == (100, 905)


async def test_a_window_that_no_peer_may_give_resets_the_stream() -> None:
    held = Held()
    async with served(held.methods) as server, connected(server) as peer:
        peer.call(1)
        await held.wait(held.started)
        peer.put(frames.window_update(1, 2**31 - 1))
        answer = await peer.answer()
        await held.wait(held.cancelled)

    assert answer.reset is Code.FLOW_CONTROL_ERROR


async def test_a_sender_waits_for_a_method_that_does_not_read() -> None:
    go = asyncio.Event()

    async def lazy(_call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        await go.wait()
        yield str(sum([len(data) async for data in requests])).encode()

    limits = replace(Limits(), stream_window=MIB)
    async with served(Methods({}, {UP: lazy}), limits) as server, connected(server) as peer:
        part = peer.message(1, bytes(MIB // 8 - 5), end=False)
        peer.put(peer.headers(1, UP), part * 8)
        granted = frames.number_of(await peer.until(frames.WINDOW_UPDATE, 1))
        granted += frames.number_of(await peer.until(frames.WINDOW_UPDATE, 1))
        peer.put(part * 8)
        await peer.ping()
        grants = [f for f in peer.seen if f[0] == frames.WINDOW_UPDATE and f[2] == 1]
        held = server._floor.held if server._floor else 0
        go.set()
        await peer.until(frames.WINDOW_UPDATE, 1)  # now that there is room again
        peer.put(frames.frame(frames.DATA, frames.END_STREAM, 1))
        answer = await peer.answer()

    assert granted == MIB
    assert len(grants) == 2
    assert BACKLOG < held <= BACKLOG + 2 * MIB
    assert answer.messages == [str(16 * (MIB // 8 - 5)).encode()]


async def test_more_than_the_window_ends_the_connection() -> None:
    held = Held()

    async def never(_call: Call, _requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        await held.go.wait()
        yield b""

    limits = replace(Limits(), stream_window=MIB)
    async with served(Methods({}, {UP: never}), limits) as server, connected(server) as peer:
        part = peer.message(1, bytes(MIB // 8), end=False)
        peer.put(peer.headers(1, UP), part * 40)

        assert await peer.goaway() is Code.FLOW_CONTROL_ERROR


async def test_an_upload_of_64_megabytes_is_never_in_memory() -> None:
    most = 0

    async def count(_call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        nonlocal most
        total = 0
        async for data in requests:
            total += len(data)
            assert server._floor is not None
            most = max(most, server._floor.held)
        yield str(total).encode()

    async with served(Methods({}, {UP: count})) as server, connected(server) as peer:
        part = peer.message(1, bytes(MIB - 5), end=False)
        peer.put(peer.headers(1, UP))
        room = {0: frames.DEFAULT_WINDOW, 1: Limits().stream_window}
        for _ in range(64):
            while min(room.values()) < MIB:
                kind, _flags, number, payload = await peer.frame()
                room[number] += frames.number_of(payload) if kind == frames.WINDOW_UPDATE else 0
            room = {number: left - MIB for number, left in room.items()}
            peer.put(part)
            await peer.writer.drain()
        peer.put(frames.frame(frames.DATA, frames.END_STREAM, 1))
        answer = await peer.answer()

    assert answer.messages == [str(64 * (MIB - 5)).encode()]
    assert most <= BACKLOG + Limits().stream_window + MIB


async def test_messages_on_their_way_in_take_no_more_than_there_is() -> None:
    limits = replace(Limits(), in_flight=3 * MIB)
    async with served(ECHO, limits) as server, connected(server) as peer:
        for number in (1, 3, 5, 7):
            peer.put(peer.headers(number), frames.data_header(MIB, 0, number))
            peer.put(b"\0\0\x20\0\0" + bytes(MIB - 5))
        refused = await peer.answer(7)
        for number in (1, 3, 5):
            peer.put(frames.reset(number, Code.CANCEL))
        peer.call(9, b"hello")
        answer = await peer.answer(9)

    assert refused.end["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
    assert "grpc-retry-pushback-ms" in refused.end
    assert answer.messages == [b"hello"]


async def test_a_peer_that_does_not_read_holds_up_its_own_stream_alone() -> None:
    made = 0

    async def endless(_call: Call, _requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield bytes(10_000)

    methods = Methods({UNARY: echo}, {DOWN: endless})
    async with served(methods) as server, connected(server) as slow, connected(server) as peer:
        slow.call(1, path=DOWN)
        await slow.until(frames.DATA, 1)
        peer.call(1, b"hello")
        answer = await peer.answer()
        slow.put(frames.window_update(0, 2**20))
        slow.call(3, b"me too")
        same = await slow.answer(3)
        before = made
        slow.put(frames.window_update(1, 100_000))
        await slow.ping()
        slow.put(frames.reset(1, Code.CANCEL))

    assert answer.messages == [b"hello"]
    assert same.messages == [b"me too"]
    assert 10_000 * before < frames.DEFAULT_WINDOW + 100_000
    assert made > before
