"""The pure parts of the HTTP/2 front, and random bytes against all of it."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator

import hpack
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.faults import Fault, Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import frames, headers, messages
from services.gateway.http2.flow import Allowance, Inflow, Outbox, Outflow
from services.gateway.http2.frames import Breach, Code, Setting
from services.gateway.http2.headers import Reader, Refusal
from services.gateway.http2.messages import Assembler, Message
from services.gateway.http2.splitter import Splitter
from shared.contracts.errors import InvalidMessage, TooLarge
from tests.services.http2_peer import BOTH, DOWN, UNARY, UP, WINDOW, Peer, connected, served

LIMIT = 16 * 2**10


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    inner = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *inner], [*inner, len(data)], strict=True)]


def test_settings_come_back_as_they_were() -> None:
    ours = {Setting.INITIAL_WINDOW_SIZE: 7, Setting.MAX_FRAME_SIZE: 2**20}
    data = frames.settings(ours)

    assert frames.header(data, 0) == (12, frames.SETTINGS, 0, 0)
    assert frames.settings_of(data[frames.HEADER_BYTES :]) == ours


def test_a_long_block_is_continued() -> None:
    data = frames.headers(5, b"abcdefg", end=True, most=3)

    found = []
    while data:
        length, kind, flags, stream = frames.header(data, 0)
        found.append((kind, flags, stream, data[9 : 9 + length]))
        data = data[9 + length :]
    assert found == [
        (frames.HEADERS, frames.END_STREAM, 5, b"abc"),
        (frames.CONTINUATION, 0, 5, b"def"),
        (frames.CONTINUATION, frames.END_HEADERS, 5, b"g"),
    ]


@given(
    sent=st.lists(
        st.tuples(
            st.booleans(), st.booleans(), st.binary(max_size=40), st.none() | st.integers(0, 255)
        ),
        max_size=8,
    ),
    places=st.lists(st.integers(0, 2000), max_size=12),
)
def test_frames_are_the_same_however_their_bytes_come(
    sent: list[tuple[bool, bool, bytes, int | None]], places: list[int]
) -> None:
    data, expected = frames.PREFACE, {}
    for stream, (is_data, end, body, padding) in enumerate(sent, 1):
        kind = frames.DATA if is_data else frames.HEADERS
        flags, payload = frames.END_STREAM if end else 0, body
        if padding is not None and is_data:
            flags, payload = flags | frames.PADDED, bytes([padding]) + body + bytes(padding)
        data += frames.frame(kind, flags, stream, payload)
        expected[stream] = (kind, flags, body, len(payload))

    splitter, found = Splitter(LIMIT), {}
    for piece in cut(data, places):
        for kind, flags, stream, payload, size in splitter.feed(piece):
            _, before, body, sofar = found.get(stream, (kind, 0, b"", 0))
            assert before == 0  # only the last part has flags
            found[stream] = (kind, flags, body + payload, sofar + size)

    assert found == expected


@given(
    bodies=st.lists(st.binary(max_size=50), max_size=6),
    places=st.lists(st.integers(0, 400), max_size=12),
)
def test_messages_are_the_same_however_their_data_comes(
    bodies: list[bytes], places: list[int]
) -> None:
    data = b"".join(messages.prefix(len(body)) + body for body in bodies)
    assembler = Assembler(LIMIT)

    found = [message for piece in cut(data, places) for message in assembler.feed(piece)]

    assert found == [Message(body) for body in bodies]
    assert (assembler.held, assembler.begun) == (0, False)


def test_an_assembler_holds_what_is_unfinished_and_refuses_what_is_too_long() -> None:
    assembler = Assembler(100)
    assert assembler.feed(b"\0\0\0\0\x09abc") == []
    assert (assembler.held, assembler.begun) == (3, True)

    with pytest.raises(TooLarge, match="101 bytes; at most 100"):
        Assembler(100).feed(b"\0\0\0\0\x65")
    with pytest.raises(InvalidMessage):
        Assembler(100).feed(b"\7\0\0\0\0")


def test_an_inflow_grants_when_half_is_used_and_ends_at_nothing() -> None:
    inflow = Inflow(100)
    inflow.take(49)
    early = inflow.grant()
    inflow.take(2)
    granted = inflow.grant()
    inflow.take(100)

    assert (early, granted) == (0, 51)
    with pytest.raises(Breach) as caught:
        inflow.take(1)
    assert caught.value.code is Code.FLOW_CONTROL_ERROR


def test_an_outflow_stays_below_two_to_the_31() -> None:
    outflow = Outflow(1)

    assert outflow.widen(2**31 - 2)
    assert not outflow.widen(1)


@given(
    parts=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5),
    most=st.integers(1, 30),
)
def test_an_outbox_gives_back_what_was_put(parts: list[bytes], most: int) -> None:
    outbox = Outbox()
    for part in parts:
        outbox.put(part)

    taken = []
    while outbox.size:
        taken.append(bytes(outbox.take(most)))

    assert b"".join(taken) == b"".join(parts)
    assert max(map(len, taken)) <= most


def test_an_allowance_fills_up_again() -> None:
    allowance = Allowance(2.0, 1.0, now=0.0)
    for now in (0.0, 0.0, 1.0, 2.0):  # a burst of two, then one a second
        allowance.spend(now)

    with pytest.raises(Breach) as caught:
        allowance.spend(2.5)
    assert caught.value.code is Code.ENHANCE_YOUR_CALM


def test_a_reader_answers_like_a_decoder_whatever_comes_before() -> None:
    encoder, reader = hpack.Encoder(), Reader(LIMIT)
    common = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b")]
    common.append(("content-type", "application/grpc+proto"))

    for index in [0, 0, 1, 1, 0, 2, 0, 0, *range(3, 90), 0, 0]:  # until the table turns over
        request = reader.read(encoder.encode([*common, ("x-index", f"{index:040}")]))
        assert (request.path, request.metadata) == ("/a/b", {"x-index": f"{index:040}"})
        assert request.refusal is None


def test_details_are_cut_and_encoded() -> None:
    fault = Fault(Status.INTERNAL, "", "ä" * 10_000, ())

    found = dict(hpack.Decoder().decode(headers.only_trailers(Refusal(fault=fault))))

    assert found["grpc-message"] == "%C3%A4" * headers.DETAILS


# Against everything


async def echo(_call: Call, data: bytes) -> bytes:
    return data


async def back(_call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async for data in requests:
        yield data


METHODS = Methods({UNARY: echo}, {BOTH: back, UP: back, DOWN: back})


async def still_serves(server: object) -> None:
    async with connected(server) as peer:  # type: ignore[arg-type]  # a Server
        peer.call(1, b"hello")
        assert (await peer.answer()).messages == [b"hello"]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with a few bytes changed, inserted and removed."""
    held = bytearray(data)
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(held) or 1)
        match rng.randrange(3):
            case 0:
                held[place : place + 1] = rng.randbytes(1)
            case 1:
                held[place:place] = rng.randbytes(rng.randrange(1, 20))
            case _:
                del held[place : place + rng.randrange(1, 20)]
    return bytes(held)


def traffic(peer: Peer, rng: random.Random) -> bytes:
    """Frames of a peer that behaves, in an order that it should not choose."""
    made = []
    for _ in range(rng.randrange(1, 12)):
        number = rng.choice([1, 1, 3, 5, 7, 2, 0])
        make = rng.choice(
            [
                lambda n: peer.headers(n, rng.choice([UNARY, BOTH, UP, DOWN, "/x"])),
                lambda n: peer.headers(n, end=True),
                lambda n: peer.message(n, rng.randbytes(rng.randrange(100))),
                lambda n: peer.message(n, b"x", end=False, flag=rng.randrange(3)),
                lambda n: frames.reset(n, Code.CANCEL),
                lambda n: frames.window_update(n, rng.choice([1, 1000, 2**31 - 1])),
                lambda _n: frames.settings({WINDOW: rng.choice([0, 9, 2**20])}),
                lambda _n: frames.frame(frames.PING, 0, 0, bytes(8)),
                lambda _n: frames.goaway(0, Code.NO_ERROR),
                lambda n: frames.frame(frames.PRIORITY, 0, n, bytes(5)),
            ]
        )
        made.append(make(number))
    return b"".join(made)


async def throw(peer: Peer, data: bytes, rng: random.Random) -> None:
    """Send in pieces, read what comes, leave in the middle of it."""
    reading = asyncio.ensure_future(peer.reader.read(2**16))
    for piece in cut(data, [rng.randrange(len(data) + 1) for _ in range(rng.randrange(4))]):
        peer.put(piece)
        await asyncio.sleep(0)
    if rng.random() < 0.5:
        await asyncio.wait([reading], timeout=0.005)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    if rng.random() < 0.3:
        peer.writer.transport.abort()


async def throw_bytes(rng: random.Random) -> None:
    async with served(METHODS) as server:
        for _ in range(60):
            async with connected(server, greet=rng.random() < 0.7) as peer:
                await throw(peer, rng.randbytes(rng.randrange(1, 300)), rng)
        await still_serves(server)


async def throw_frames(rng: random.Random) -> None:
    async with served(METHODS) as server:
        for _ in range(80):
            async with connected(server) as peer:
                data = traffic(peer, rng)
                await throw(peer, mutated(data, rng) if rng.random() < 0.6 else data, rng)
        await still_serves(server)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("attack", [throw_bytes, throw_frames])
def test_no_bytes_and_no_frames_hurt_the_server(attack: object, seed: int, loop: object) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]  # makes a loop
        runner.run(attack(random.Random(seed)))  # type: ignore[operator]  # a coroutine function
