"""Messages: what is on the wire today can be read tomorrow, and the other way round.

`golden/` holds one JSON per message with every field filled; `required.json` the fields that a
writer of v1 must give. Neither file ever loses a line.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.contracts import v1
from shared.contracts.errors import InvalidMessage
from shared.contracts.message import Message, Value
from shared.contracts.v1.jobs import JobSubmitted
from shared.contracts.v1.recipes import Adapt, Prune, Quantize
from shared.contracts.v1.workers import Heartbeat

HERE = Path(__file__).parent
GOLDEN = sorted((HERE / "golden").glob("*.json"))


def contracts() -> Iterator[type[BaseModel]]:
    """Every value and message of version 1."""
    for info in pkgutil.iter_modules(v1.__path__):
        module = importlib.import_module(f"{v1.__name__}.{info.name}")
        for found in vars(module).values():
            own = getattr(found, "__module__", None) == module.__name__
            if own and isinstance(found, type) and issubclass(found, Value):
                yield found


MESSAGES = {
    found.model_fields["type"].default: found for found in contracts() if issubclass(found, Message)
}


def message_of(path: Path) -> type[Message]:
    """The class that a golden file belongs to."""
    return MESSAGES[json.loads(path.read_text())["type"]]


def newer(value: object, written: object) -> object:
    """What a later version might write: one more field in every object that has named fields."""
    match value, written:
        case BaseModel(), dict():
            fields = {name: newer(getattr(value, name), item) for name, item in written.items()}
            return fields | {"later": 1}
        case dict(), dict():
            return {name: newer(value[name], item) for name, item in written.items()}
        case tuple(), list():
            return [newer(each, item) for each, item in zip(value, written, strict=True)]
    return written


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_message_is_read_and_written_without_loss(path: Path) -> None:
    message = message_of(path).decode(path.read_bytes())

    assert json.loads(message.encode()) == json.loads(path.read_text())


def test_every_message_has_a_golden_file_that_fills_every_field() -> None:
    filled: dict[str, set[str]] = {}
    for path in GOLDEN:
        content = json.loads(path.read_text())
        filled.setdefault(content["type"], set()).update(content)

    fields = {name: set(found.model_fields) for name, found in MESSAGES.items()}

    assert filled == fields


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_unknown_fields_are_ignored(path: Path) -> None:
    message = message_of(path).decode(path.read_bytes())
    later = newer(message, json.loads(path.read_text()))

    assert message_of(path).decode(json.dumps(later).encode()) == message


def test_the_required_fields_never_grow() -> None:
    recorded = json.loads((HERE / "required.json").read_text())

    now = {
        found.__name__: {name for name, each in found.model_fields.items() if each.is_required()}
        for found in contracts()
    }

    assert set(now) == set(recorded)
    assert {name: needed - set(recorded[name]) for name, needed in now.items()} == {
        name: set() for name in now
    }


@pytest.mark.parametrize("missing", ["job", "body"])
def test_a_missing_field_is_named(missing: str) -> None:
    content = {"job": "1", "body": {"kind": "infer"}}
    del content[missing]

    with pytest.raises(InvalidMessage, match=missing):
        JobSubmitted.decode(json.dumps(content).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"job": NaN}',
        b'{"deadline": Infinity, "job": "1", "body": {"kind": "infer"}}',
        b'{"deadline": 1e999, "job": "1", "body": {"kind": "infer"}}',
        b'{"job": "1", "body": {"kind": "nonsense"}}',
        b'{"job": "a.b", "body": {"kind": "infer"}}',
        b'{"job": "../x", "body": {"kind": "infer"}}',
        b'{"job": "1", "body": {"kind": "infer", "model": "../x"}}',
        b'{"type": "jobs.finished.v1", "job": "1", "body": {"kind": "infer"}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"priority": ' + b"9" * 5_000 + b"}",
        b'{"job": "1", "job": "2", "body": {"kind": "infer"}}',
        b'{"job": "1", "body": {"kind": "infer", "model": "a", "model": "b"}}',
        b'{"job": "1", "body": {"kind": "infer", "model": "\\ud800"}}',
    ],
    ids=lambda text: text[:24].decode(errors="replace"),
)
def test_what_is_no_message_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidMessage):
        JobSubmitted.decode(text)


@pytest.mark.parametrize(
    "shape", [[-1], [2**31], [10**400], [1] * 33], ids=["negative", "wide", "huge", "deep"]
)
def test_shape_that_no_tensor_has_is_refused(shape: list[int]) -> None:
    ref = {"blob": {"sha256": "0" * 64, "size": 4}, "dtype": "f32", "shape": shape}
    content = {"job": "1", "body": {"kind": "infer"}, "tensors": {"x": ref}}

    with pytest.raises(InvalidMessage, match=r"tensors\.x\.shape"):
        JobSubmitted.decode(json.dumps(content).encode())


def test_an_error_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(InvalidMessage) as caught:
        Heartbeat.decode(b'{"worker": "secret path", "worker_class": "c", "slots": 1, "free": 1}')

    assert "secret path" not in str(caught.value)


def test_a_message_cannot_be_changed() -> None:
    beat = Heartbeat(worker="cpu-1", worker_class="cpu", slots=1, free=1)

    with pytest.raises(ValueError, match="frozen"):
        beat.free = 0  # type: ignore[misc]  # the point of the test


def test_one_scale_for_all_and_one_for_a_group_are_not_asked_for_together() -> None:
    with pytest.raises(ValueError, match="group 32 one for so many columns: give one of the two"):
        Quantize(bits=8, group=32, per_tensor=True)


def test_static_activations_say_which_weights_they_go_with() -> None:
    with pytest.raises(ValueError, match="weights of 8 bits and a scale per row, got bits 4"):
        Quantize(bits=4, group=32, activations="static")


def test_bits_are_chosen_within_bytes_or_within_seconds() -> None:
    with pytest.raises(ValueError, match=r"got share 0\.5 and seconds 0\.1: give one"):
        Adapt(share=0.5, seconds=0.1)


def test_a_pattern_says_its_sparsity_itself() -> None:
    with pytest.raises(
        ValueError, match=r"a sparsity of 0\.5 whatever the scope; got sparsity 0\.9"
    ):
        Prune(granularity="nm", sparsity=0.9, n=2, m=4)
