"""Frames: a message with tensors in one piece of bytes, read within bounds."""

import json
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import frame, packed
from shared.contracts.errors import InvalidMessage, InvalidTensor
from shared.contracts.v1.jobs import InferBody, JobSubmitted
from shared.tensors.layouts import dense

JOB = JobSubmitted(job="1", body=InferBody(model="digits"))
TEXT = JOB.encode().decode()


def container(header: object, body: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_message_without_tensors_is_json() -> None:
    assert frame.encode(JOB) == JOB.encode()
    assert frame.decode(JOB.encode(), JobSubmitted) == (JOB, {})


def test_tensors_travel_with_their_message() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)

    message, tensors = frame.decode(frame.encode(JOB, {"x": dense(x)}), JobSubmitted)

    assert message == JOB
    np.testing.assert_array_equal(tensors["x"].values, x)


def test_a_stock_reader_of_safetensors_finds_message_and_tensors(tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "job.safetensors"
    path.write_bytes(frame.encode(JOB, {"x": dense(np.float32([[1, 2]]))}))

    with safe_open(path, framework="numpy") as file:
        assert JobSubmitted.decode(file.metadata()["message"].encode()) == JOB
        np.testing.assert_array_equal(file.get_tensor("x"), [[1, 2]])


def test_a_router_reads_the_message_without_the_tensors() -> None:
    whole = frame.encode(JOB, {"x": dense(np.zeros(1000, np.float32))})
    cut = whole[: len(whole) // 2]  # the header is intact, half of the tensor is missing

    assert frame.message_of(cut, JobSubmitted) == JOB
    with pytest.raises(InvalidTensor):
        frame.decode(cut, JobSubmitted)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"hello, this is no frame",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 200 * 2**20) + b"{}",
        struct.pack("<Q", 2**20 + 1) + b" " * (2**20 + 1),
        container(b"{" * 100_000),
        container(b'{"__metadata__": {"message": "{}"}, "__metadata__": {"message": "{}"}}'),
        container({"__metadata__": {"other": TEXT}}),
        container({"__metadata__": {"message": "not json"}}),
        container({"__metadata__": {"message": 1}}),
        container({"__metadata__": {"message": TEXT}} | {str(i): {} for i in range(10_001)}),
        container({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    ],
    ids=range(13),
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        frame.message_of(data, JobSubmitted)
    with pytest.raises(InvalidMessage):
        frame.decode(data, JobSubmitted)


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, bytes(4)),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, bytes(5)),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, bytes(8)),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}, bytes(4)),
        ({"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}, b""),
        ({"dtype": "F32", "shape": [1] * 200, "data_offsets": [0, 4]}, bytes(4)),
        ({"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}, bytes(4)),
        ({"dtype": "F32"}, bytes(4)),
        (1, bytes(4)),
    ],
)
def test_a_malformed_tensor_is_refused_but_its_message_is_read(entry: object, body: bytes) -> None:
    data = container({"__metadata__": {"message": TEXT}, "x": entry}, body)

    assert frame.message_of(data, JobSubmitted) == JOB
    with pytest.raises(InvalidTensor):
        frame.decode(data, JobSubmitted)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused_by_name(data: bytes) -> None:
    with suppress(InvalidMessage, InvalidTensor):
        frame.decode(data, JobSubmitted)


# The lean frame between gateway and workers

HEADS = st.tuples(st.text(max_size=8), st.just("f32"), st.lists(st.integers(0, 9)).map(tuple))
CALLS = st.builds(
    packed.Call,
    artifact=st.text(max_size=64),
    inputs=st.lists(HEADS.map(lambda head: packed.Head(*head)), max_size=3).map(tuple),
    outputs=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    budget=st.floats(0, 1e6),
)


@given(st.lists(st.tuples(CALLS, st.binary(max_size=50)), max_size=5))
def test_packed_calls_come_out_as_they_went_in(items: list[tuple[packed.Call, bytes]]) -> None:
    data = b"".join(packed.item(call, [body[:3], body[3:]]) for call, body in items)

    assert [(call, bytes(body)) for call, body in packed.calls(data)] == items


def test_packed_answers_come_out_in_order() -> None:
    served = packed.Answer(outputs=(packed.Head("y", "f32", (1, 10)),), batch=4, worker="cpu-1")
    failed = packed.Answer(code="EL-1102", message="x has 63 columns")

    data = packed.item(served, [bytes(40)]) + packed.item(failed, [])

    assert [(answer, len(body)) for answer, body in packed.answers(data)] == [
        (served, 40),
        (failed, 0),
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_packed_calls_or_refused(data: bytes) -> None:
    for read in (packed.calls, packed.answers):
        with suppress(InvalidMessage):
            list(read(data))


@given(st.data())
def test_a_packed_message_that_is_cut_or_altered_never_breaks_the_reader(
    data: st.DataObject,
) -> None:
    whole = bytearray(
        packed.item(packed.Call("a" * 64, (packed.Head("x", "f32", (2, 3)),)), [b"1" * 24]) * 2
    )
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])

    with suppress(InvalidMessage):
        for _, body in packed.calls(cut):
            assert len(body) <= len(cut)


def test_a_packed_message_has_at_most_1024_items() -> None:
    one = packed.item(packed.Call("a", ()), [])

    assert len(list(packed.calls(one * packed.MAX_ITEMS))) == packed.MAX_ITEMS
    with pytest.raises(InvalidMessage, match="1025"):
        list(packed.calls(one * (packed.MAX_ITEMS + 1)))
