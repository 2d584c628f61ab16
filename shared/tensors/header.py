"""The header of a safetensors file: text and the place of each tensor, read under limits.

The reader is our own because the library accepts duplicate keys and has no limits. It keeps the
format: ``u64 header bytes | JSON header | tensors without holes or overlaps``, little endian.

Source: https://github.com/huggingface/safetensors, section Format.
"""

import json
import re
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from shared.tensors.dtypes import Dtype

Buffer = bytes | bytearray | memoryview

MAX_HEADER = 1 << 20  # bytes of JSON
MAX_TENSORS = 10_000
MAX_RANK = 32
MAX_DIMENSION = 2**31 - 1
MAX_BYTES = 2**56  # of one tensor, counting a dimension of 0 as 1
MAX_NAME = 512  # characters
PREFIX = 8  # bytes of the header length

METADATA = "__metadata__"
FORMAT_NAMES = {dtype: dtype.value.upper() for dtype in Dtype}
_DTYPES = {name: dtype for dtype, name in FORMAT_NAMES.items()}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # as JSON escapes one; a whole pair is a character


class Entry(NamedTuple):
    """One safetensors tensor as the header describes it; offsets count from the first data byte."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says: text by key, tensors still as JSON, and where the data starts."""

    text: dict[str, str]
    tensors: dict[str, object]
    data_start: int

    def entries(self, size: int) -> list[Entry]:
        """Every tensor, checked to fill `size` bytes of data without holes or overlaps.

        Raises:
            ValueError: a tensor is malformed, exceeds a limit, or lies outside its place.
        """
        entries = [_entry(name, value) for name, value in self.tensors.items()]
        end = 0
        for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
            if entry.start != end:
                raise ValueError(f"tensor {entry.name!r} starts at {entry.start}, expected {end}")
            end = entry.end
        if end != size:
            raise ValueError(f"the tensors end at byte {end} of the data, which has {size}")
        return entries


def parse(data: Buffer) -> Header:
    """Read the header alone.

    Raises:
        ValueError: not a safetensors header, or one over a limit; decided before parsing.
    """
    if len(data) < PREFIX:
        raise ValueError(f"a container has at least {PREFIX} bytes, got {len(data)}")
    length = int.from_bytes(data[:PREFIX], "little")
    require_limits(length, 0)
    if length > len(data) - PREFIX:
        raise ValueError(f"the header claims {length} bytes, {len(data) - PREFIX} are left")
    raw = bytes(data[PREFIX : PREFIX + length])
    if raw[:1] != b"{":
        raise ValueError(f"a header starts with '{{', got {raw[:1]!r}")
    content = json_object(raw.decode(), "header")
    text = _text(content.pop(METADATA, {}))
    require_limits(length, len(content))
    return Header(text, content, PREFIX + length)


def require_limits(length: int, tensors: int) -> None:
    """Refuse a header of too many bytes or tensors.

    Raises:
        ValueError: with the number and its limit.
    """
    if length > MAX_HEADER:
        raise ValueError(f"a header has at most {MAX_HEADER} bytes, this one claims {length}")
    if tensors > MAX_TENSORS:
        raise ValueError(f"a container has at most {MAX_TENSORS} tensors, got {tensors}")


def require_name(name: str) -> None:
    """Refuse an empty or very long tensor name; anything else is a name, never a path.

    Raises:
        ValueError: with the length and its limit.
    """
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"a tensor name has 1..{MAX_NAME} characters, got {len(name)}")


def require_shape(name: str, value: object) -> tuple[int, ...]:
    """A JSON list as a shape.

    Raises:
        ValueError: not integers in range, too many of them, or too large together.
    """
    shape = _integers(value, MAX_DIMENSION)
    if shape is None or len(shape) > MAX_RANK:
        limit = f"at most {MAX_RANK} dimensions of 0..{MAX_DIMENSION}"
        raise ValueError(f"the shape of {name!r} has {limit}, got {str(value)[:80]}")
    # A zero hides the other sizes from the byte count, yet numpy multiplies them and overflows.
    if prod(max(size, 1) for size in shape) > MAX_BYTES // 8:
        raise ValueError(f"the shape of {name!r} exceeds {MAX_BYTES} bytes: {shape}")
    return shape


def json_object(text: str, what: str) -> dict[str, object]:
    """Parse a JSON object in which no key repeats at any depth.

    Raises:
        ValueError: not JSON, not an object, a repeated key, half a character, or nested too deeply.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"the {what} nests too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"the {what} must be a JSON object, got {type(value).__name__}")
    if _SURROGATE.search(text):
        _require_characters(value, what)
    return value


def _require_characters(value: dict[str, object], what: str) -> None:
    """Refuse half a surrogate pair: Python reads it as text that no encoder takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"the {what} holds {half!r}, half of a surrogate pair") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content: dict[str, object] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key[:MAX_NAME]!r} occurs twice in one JSON object")
        content[key] = value
    return content


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number of JSON")


def _text(content: object) -> dict[str, str]:
    if not isinstance(content, dict):
        raise ValueError(f"{METADATA} must be a JSON object, got {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(value, str):
            raise ValueError(f"metadata {key[:MAX_NAME]!r} must be text, got {value!r:.80}")
    return content


def _entry(name: str, value: object) -> Entry:
    require_name(name)
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} needs dtype, shape and data_offsets, nothing else")
    dtype = _DTYPES.get(str(value["dtype"]))
    if dtype is None:
        known = ", ".join(_DTYPES)
        raise ValueError(f"tensor {name!r} has dtype {value['dtype']!r:.80}; known: {known}")
    shape = require_shape(name, value["shape"])
    offsets = _integers(value["data_offsets"], 2**63 - 1)
    if offsets is None or len(offsets) != 2:
        given = str(value["data_offsets"])[:80]
        raise ValueError(f"tensor {name!r} needs two data_offsets of 0..2**63-1, got {given}")
    _require_span(name, prod(shape) * dtype.itemsize, offsets)
    return Entry(name, dtype, shape, *offsets)


def _require_span(name: str, needed: int, offsets: tuple[int, ...]) -> None:
    start, end = offsets
    if end - start != needed:
        raise ValueError(f"tensor {name!r} needs {needed} bytes, its offsets span {end - start}")


def _integers(value: object, limit: int) -> tuple[int, ...] | None:
    """The integers 0..limit of a JSON list; None when it is anything else."""
    if not isinstance(value, list):
        return None
    fits = all(type(item) is int and 0 <= item <= limit for item in value)
    return tuple(value) if fits else None
