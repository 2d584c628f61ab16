"""HTTP/2 front, frame by frame. Header blocks: fragments, limits, the shared table."""

from dataclasses import replace

from services.gateway.faults import Status
from services.gateway.front import Call, Methods
from services.gateway.http2 import frames
from services.gateway.http2.frames import Code
from services.gateway.limits import Limits
from tests.services.http2_methods import ECHO, KIB
from tests.services.http2_peer import UNARY, connected, served


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
