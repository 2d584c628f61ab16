"""Forms: a request whose head is known is answered as one that is parsed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import forms, translate
from services.gateway.forms import Form, Forms, Parts
from shared.bus.memory import MemoryBroker
from shared.contracts import packed
from shared.contracts.errors import SuiteError
from shared.contracts.wire import inference
from shared.tensors.dtypes import Dtype
from tests.services.gateway_house import DENSE, INFER, House, manifest, opened, request

Request, Response = inference.ModelInferRequest, inference.ModelInferResponse
ROW = np.array([[1, 2, 3, 4]], np.float32)


def form(*sizes: int, outputs: tuple[str, ...] = (), rows: int = 1) -> Form:
    """Of the model `digits`."""
    whole = manifest()
    heads = tuple(packed.Head(f"x{i}", "u8", (1, size)) for i, size in enumerate(sizes))
    dtypes = (Dtype.U8,) * len(sizes)
    return Form(whole, whole.variants[0], heads, dtypes, sizes, outputs, rows, 1.0, 5)


def answer(*outputs: packed.Head) -> packed.Answer:
    return packed.Answer(outputs=outputs, batch=1, worker="w")


@given(
    name=st.text(max_size=300),
    identity=st.text(max_size=300),
    bodies=st.lists(st.binary(max_size=300), max_size=4),
    outputs=st.lists(st.text(max_size=5), max_size=2),
)
def test_parts_put_together_are_the_request(
    name: str, identity: str, bodies: list[bytes], outputs: list[str]
) -> None:
    message = Request(model_name=name, id=identity)
    message.parameters["priority"].int64_param = 3
    for output in outputs:
        message.outputs.add(name=output)
    message.raw_input_contents.extend(bodies)

    parts = forms.split(message.SerializeToString(deterministic=True))

    assert parts is not None
    rest = Request.FromString(parts.head)
    assert (rest.id, list(rest.raw_input_contents)) == ("", [])
    assert list(parts.bodies) == bodies
    whole = Request.FromString(parts.head + parts.identity)
    whole.raw_input_contents.extend(bodies)
    assert whole == message


@given(data=st.binary(max_size=60))
def test_bytes_that_are_taken_apart_are_put_together_again(data: bytes) -> None:
    parts = forms.split(data)

    if parts is not None:
        assert len(parts.head) + len(parts.identity) <= len(data)
        assert sum(map(len, parts.bodies)) <= len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05ab",  # the name is cut off
        b"\x0a\x80\x80\x80\x80\x80\x01",  # a length that does not end
        b"\x3a\x01",  # raw contents are cut off
        b"\x3a\x00\x0a\x00",  # a name after raw contents
        b"\x1a\x01\xff",  # an id that is no text
        b"\x1a\x01a\x1a\x01b",  # two ids
        b"\x08\x01",  # a number where a name belongs
        b"\x42\x00",  # an unknown field
    ],
)
def test_what_is_not_in_its_place_is_left_to_the_parser(data: bytes) -> None:
    assert forms.split(data) is None


def test_a_form_is_found_again_whatever_id_and_values() -> None:
    known, first = Forms(), request(ROW, id="1")
    known.remember(first.SerializeToString(), kept := form(16))

    found = known.find(request(ROW * 2, id="another").SerializeToString())

    assert found is not None
    assert found[0] is kept
    assert bytes(found[1].bodies[0]) == (ROW * 2).tobytes()
    assert Response.FromString(found[1].identity).id == "another"


@pytest.mark.parametrize(
    "other",
    [
        request(ROW, model_version="int8"),
        request(np.ones((2, 4), np.float32)),
        request(ROW, typed=True),
        Request(model_name="digits"),
    ],
)
def test_another_head_has_another_form(other: Request) -> None:
    known = Forms()
    known.remember(request(ROW).SerializeToString(), form(16))

    assert known.find(other.SerializeToString()) is None


def test_raw_contents_of_another_length_do_not_fit() -> None:
    known, message = Forms(), request(ROW)
    known.remember(message.SerializeToString(), form(16))
    message.raw_input_contents[0] += b"\0"

    assert known.find(message.SerializeToString()) is None


def test_forms_are_bounded() -> None:
    known = Forms()
    for number in range(2 * forms.REMEMBERED):
        known.remember(request(ROW, model=f"m{number}").SerializeToString(), form(16))

    assert known.find(request(ROW, model="m0").SerializeToString()) is None
    last = request(ROW, model=f"m{2 * forms.REMEMBERED - 1}")
    assert known.find(last.SerializeToString()) is not None


@given(
    shape=st.lists(st.integers(1, 5), max_size=4),
    datatype=st.sampled_from(sorted(translate.DATATYPES)),
    identity=st.text(max_size=200),
)
def test_a_response_carries_the_answer_of_the_worker(
    shape: list[int], datatype: str, identity: str
) -> None:
    dtype = translate.DATATYPES[datatype]
    body = (bytes(range(256)) * 40)[: int(np.prod(shape)) * dtype.itemsize]
    ports = (manifest().outputs[0].model_copy(update={"shape": tuple(shape)}),)
    whole = manifest(outputs=ports)
    asked = Form(whole, whole.variants[0], (), (), (), (), 1, 1.0, 5)
    head = packed.Head("y", dtype.value, tuple(shape))
    echo = Response(id=identity).SerializeToString()

    twice = [asked.response(answer(head), memoryview(body), echo) for _ in range(2)]

    reply = Response.FromString(twice[0])
    assert twice[0] == twice[1]
    assert (reply.model_name, reply.model_version, reply.id) == ("digits", "dense", identity)
    assert (reply.outputs[0].datatype, list(reply.outputs[0].shape)) == (datatype, shape)
    assert list(reply.raw_output_contents) == [body]


Y, TOP = packed.Head("y", "f32", (2, 3)), packed.Head("top", "i64", (2,))


@pytest.mark.parametrize(
    ("heads", "size"),
    [
        ((Y,), 24),  # an output is missing
        ((packed.Head("y", "f32", (1, 3)), TOP), 28),  # other rows
        ((Y, TOP), 39),  # bytes are missing
        ((Y, TOP), 41),  # there are too many
    ],
)
def test_an_answer_that_does_not_fit_is_an_error(heads: tuple[packed.Head, ...], size: int) -> None:
    asked = form(16, rows=2)

    with pytest.raises(SuiteError, match="worker w answered"):
        asked.response(answer(*heads), memoryview(bytes(size)), b"")


def test_outputs_come_in_the_order_in_which_they_were_asked_for() -> None:
    asked = form(16, outputs=("top", "y"), rows=2)
    body = np.arange(6, dtype=np.float32).tobytes() + np.arange(2).tobytes()

    reply = Response.FromString(asked.response(answer(Y, TOP), memoryview(body), b""))

    assert [output.name for output in reply.outputs] == ["top", "y"]
    assert list(reply.raw_output_contents) == [body[24:], body[:24]]


async def reply_of(house: House, message: Request) -> Response:
    return Response.FromString(await house.raw(INFER, message.SerializeToString()))


async def test_a_known_head_is_answered_as_a_new_one(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        replies = [await reply_of(house, request(ROW, id="i" * 200)) for _ in range(3)]
        worker = house.workers["cpu-1"]

    assert replies[0] == replies[1] == replies[2]
    assert replies[0].id == "i" * 200
    calls = [call for (call,) in worker.messages]
    assert [(call.artifact, call.inputs, call.outputs) for call in calls] == 3 * [
        (DENSE, (packed.Head("x", Dtype.F32.value, (1, 4)),), ())
    ]


async def test_a_changed_model_is_checked_anew(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        before = await reply_of(house, request(ROW))
        await house.put(manifest(default="int8"), "cpu")
        after = await reply_of(house, request(ROW))

    assert (before.model_version, after.model_version) == ("dense", "int8")


def test_parts_of_nothing_are_empty() -> None:
    assert forms.split(b"") == Parts(b"", b"", [])
