"""The HTTP/2 front, frame by frame: what it keeps of the protocol, and what it survives."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import anyio
import pytest

from services.gateway.faults import Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import connection, frames
from services.gateway.http2.exchange import BACKLOG
from services.gateway.http2.frames import Code, Setting
from services.gateway.limits import MIB, Limits
from shared.contracts.errors import QueueFull, UnknownModel
from tests.services.http2_peer import BOTH, DOWN, UNARY, UP, WINDOW, Peer, connected, served

KIB = 2**10
MEGABYTES_5 = bytes(range(256)) * 4 * KIB * 5


async def echo(_call: Call, data: bytes) -> bytes:
    return data


ECHO = Methods({UNARY: echo}, {})


@dataclass
class Held:
    """A method that answers when it is told to, and knows whether it was cancelled."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list)

    async def unary(self, call: Call, data: bytes) -> bytes:
        self.calls.append(call)
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return data

    @property
    def methods(self) -> Methods:
        return Methods({UNARY: self.unary}, {})

    async def wait(self, event: asyncio.Event) -> None:
        await asyncio.wait_for(event.wait(), 5)


# The connection


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


# Header blocks


async def test_a_block_may_come_in_fragments() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        block = peer.headers(1)[frames.HEADER_BYTES :]
        peer.put(frames.frame(frames.HEADERS, 0, 1, block[:3]))
        peer.put(frames.frame(frames.CONTINUATION, 0, 1, block[3:9]))
        peer.put(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:]))
        peer.put(peer.message(1, b"hello"))

        assert (await peer.answer()).messages == [b"hello"]


async def test_fragments_without_end_end_the_connection() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(frames.frame(frames.HEADERS, 0, 1, b"\x82"))
        peer.put(frames.frame(frames.CONTINUATION, 0, 1, b"") * 1000)

        assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


async def test_nothing_comes_between_fragments() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.put(frames.frame(frames.HEADERS, 0, 1, b"\x82"), frames.settings({}))

        assert await peer.goaway() is Code.PROTOCOL_ERROR


async def test_a_block_that_is_never_complete_is_given_up() -> None:
    async with served(ECHO, replace(Limits(), handshake=0.1)) as server, connected(server) as peer:
        peer.put(frames.frame(frames.HEADERS, 0, 1, b"\x82"))

        assert await peer.goaway() is Code.SETTINGS_TIMEOUT


async def test_too_many_headers_are_refused_and_the_table_stays_true() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, x_large="x" * 20 * KIB)
        refused = await peer.answer()
        peer.call(3, b"hello")
        answer = await peer.answer(3)

    assert refused.end["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
    assert answer.messages == [b"hello"]


async def test_a_block_that_unpacks_to_far_too_much_ends_the_connection() -> None:
    async with served(ECHO) as server, connected(server) as peer:
        peer.call(1, x_large="x" * 4000)  # now the table holds it, and a byte stands for it
        await peer.answer()
        peer.put(frames.headers(3, b"\xbe" * 1000, end=False))

        assert await peer.goaway() is Code.ENHANCE_YOUR_CALM


async def test_repeated_blocks_mean_the_same_until_the_table_changes() -> None:
    seen: list[str] = []

    async def note(call: Call, data: bytes) -> bytes:
        seen.append(call.metadata.get("x-word", ""))
        return data

    async with served(Methods({UNARY: note}, {})) as server, connected(server) as peer:
        for number, word in enumerate(["a", "a", "a", "b", "b", "a", "c", "c"]):
            peer.call(2 * number + 1, x_word=word)
        await peer.answers(*range(1, 17, 2))

    assert seen == ["a", "a", "a", "b", "b", "a", "c", "c"]


# What is asked for


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


# Messages


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
        ("gzip", gzip.compress(bytes(100))[:-9], 1),
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


# Flow control


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


# Calls at once


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
        async with asyncio.timeout(5):
            while len(waiting) < 100:
                await anyio.lowlevel.checkpoint()
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


# Ends


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
