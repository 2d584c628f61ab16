"""What tuning found, as JSON: read strictly, for a file or a broker may hold anything."""

from typing import Annotated

import msgspec

from services.gpu_worker.tuned import problems, space
from services.gpu_worker.tuned.space import Value
from services.gpu_worker.tuning import Tuning

FORMAT = 1
MOST = 2**20  # [bytes] of a document; a bucket takes no more
Seconds = Annotated[float, msgspec.Meta(gt=0.0, lt=3600.0)]
Text = Annotated[str, msgspec.Meta(max_length=400)]


class Unreadable(ValueError):
    """A document that is damaged, of another format, or names what is not in the declared space."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values for one shape class of one operator that were faster than the start values."""

    operator: Text
    shape: Text  # the shape class
    problem: Text  # what was measured: a name in `problems`
    values: dict[str, Value]  # field of Tuning -> value, where it differs from the start
    seconds: Seconds  # median of a call [s]
    start_seconds: Seconds  # the same with the start values, in the same rounds [s]
    samples: Annotated[int, msgspec.Meta(ge=1)]  # of each

    @property
    def gain(self) -> float:
        """How many times as fast as with the start values."""
        return self.start_seconds / self.seconds


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is known of one device under one driver with one state of the sources."""

    format: int
    key: Text
    device: Text
    driver: Text
    entries: tuple[Entry, ...]


def encode(document: Document) -> bytes:
    """The document as JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def decode(content: bytes, key: str, start: Tuning) -> Document:
    """Parse and check a document.

    Args:
        content: JSON.
        key: what it must have been stored for.
        start: the start values of the device.

    Raises:
        Unreadable: says what is wrong with it.
    """
    if len(content) > MOST:
        raise Unreadable(f"{len(content)} bytes; a document has {MOST} at most")
    try:
        document = msgspec.json.decode(content, type=Document)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from None
    if (document.format, document.key) != (FORMAT, key):
        raise Unreadable(f"format {document.format} for key {document.key!r:.90}, not {key}")
    for entry in document.entries:
        _check(entry, start)
    return document


def _check(entry: Entry, start: Tuning) -> None:
    """Only what the tuner itself could have found: raises Unreadable."""
    reason = space.refuses(entry.operator, start, entry.values)
    if reason:
        raise Unreadable(f"{entry.operator}: {reason}")
    try:
        problem = problems.named(entry.operator, entry.problem)
    except ValueError as error:
        raise Unreadable(str(error)) from None
    if problem.shape != entry.shape:
        raise Unreadable(f"{entry.problem} is of class {problem.shape}, not {entry.shape}")
