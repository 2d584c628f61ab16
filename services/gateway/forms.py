"""Requests that look alike: all but their values and their id is read and checked once.

A client sends the same head again and again: model, version, names, shapes, parameters. The form
of such a head holds what the checks found, so that the next request costs a comparison of bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final, NamedTuple

from services.gateway import signature, translate
from services.gateway.translate import RawTensor
from shared.contracts import packed
from shared.contracts.errors import SuiteError
from shared.contracts.v1.models import ModelManifest, Variant
from shared.contracts.wire import inference
from shared.tensors.dtypes import Dtype

HEAD: Final = 4096  # [bytes] of a head that is remembered
REMEMBERED: Final = 1024  # heads
LAYOUTS: Final = 16  # ways to answer one; a worker has one

# Tags of length-delimited fields: number << 3 | 2.
_ID: Final = 3 << 3 | 2  # of ModelInferRequest, and of ModelInferResponse
_RAW_INPUT: Final = 7 << 3 | 2
_RAW_OUTPUT: Final = 6 << 3 | 2
_HEAD_TAGS: Final = frozenset(number << 3 | 2 for number in (1, 2, 4, 5, 6))
_SHIFTS: Final = (7, 14, 21, 28)  # of the bytes of a length after the first
Body = bytes | memoryview


class Parts(NamedTuple):
    """A request by what varies."""

    head: bytes  # without the id and the raw contents
    identity: bytes  # the field of the id, as it came; empty when there is none
    bodies: list[memoryview]  # raw contents


class _Layout(NamedTuple):
    """How an answer of a worker becomes a response."""

    head: bytes  # of the response
    pieces: tuple[tuple[bytes, slice], ...]  # tag and length, and where the worker put the tensor
    size: int  # [bytes] of the worker's body


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A checked head: what is asked of which variant, and how its answers look."""

    manifest: ModelManifest
    variant: Variant
    heads: tuple[packed.Head, ...]  # of the inputs
    dtypes: tuple[Dtype, ...]  # of the inputs
    sizes: tuple[int, ...]  # [bytes] of the inputs
    outputs: tuple[str, ...]  # that are asked for; none means all
    rows: int
    timeout: float  # [s]
    priority: int
    _layouts: dict[tuple[packed.Head, ...], _Layout] = field(default_factory=dict)

    def fits(self, bodies: Sequence[Body]) -> bool:
        """Whether these are as long as the head says."""
        return tuple(map(len, bodies)) == self.sizes

    def tensors(self, bodies: Sequence[Body]) -> list[RawTensor]:
        """The inputs."""
        return [
            RawTensor(head.name, dtype, head.shape, body)
            for head, dtype, body in zip(self.heads, self.dtypes, bodies, strict=True)
        ]

    def response(self, answer: packed.Answer, body: memoryview, identity: bytes) -> bytes:
        """A worker's answer as a ModelInferResponse.

        Raises:
            SuiteError: the answer is not what was asked for.
        """
        layout = self._layouts.get(answer.outputs)
        if layout is None:
            layout = self._layout(answer)
            if len(self._layouts) < LAYOUTS:
                self._layouts[answer.outputs] = layout
        if len(body) != layout.size:
            raise self._unfit(answer)
        parts: list[Body] = [layout.head, identity]
        for tag, where in layout.pieces:
            parts += (tag, body[where])
        return b"".join(parts)

    def _layout(self, answer: packed.Answer) -> _Layout:
        """Hold the headers of an answer against what was asked: names, rows."""
        places, offset = {}, 0
        for head in answer.outputs:
            end = offset + prod(head.shape) * Dtype(head.dtype).itemsize
            places[head.name], offset = (head, slice(offset, end)), end
        ports = {port.name: port for port in self.manifest.outputs}
        wanted = self.outputs or tuple(ports)
        if not all(
            name in places and _rows_fit(ports[name].shape, places[name][0].shape, self.rows)
            for name in wanted
        ):
            raise self._unfit(answer)
        found = [places[name] for name in wanted]
        pieces = tuple(
            (_tagged(_RAW_OUTPUT, where.stop - where.start), where) for _, where in found
        )
        return _Layout(self._response_head([head for head, _ in found]), pieces, offset)

    def _response_head(self, heads: Sequence[packed.Head]) -> bytes:
        reply = inference.ModelInferResponse(
            model_name=self.manifest.model, model_version=self.variant.name
        )
        for head in heads:
            datatype = translate.NAMES[Dtype(head.dtype)]
            reply.outputs.add(name=head.name, datatype=datatype, shape=head.shape)
        return reply.SerializeToString()

    def _unfit(self, answer: packed.Answer) -> SuiteError:
        got = {head.name: list(head.shape) for head in answer.outputs}
        return SuiteError(f"worker {answer.worker} answered {got} for {self.rows} rows")


class Forms:
    """The forms of the heads that were seen lately."""

    def __init__(self) -> None:
        self._forms: dict[bytes, Form] = {}

    def find(self, data: bytes) -> tuple[Form, Parts] | None:
        """The form of a serialized request whose head is known and whose raw contents fit it."""
        parts = split(data)
        form = self._forms.get(parts.head) if parts else None
        return (form, parts) if parts and form and form.fits(parts.bodies) else None

    def remember(self, data: bytes, form: Form) -> None:
        """Keep the form of a serialized request; all are forgotten when there are too many."""
        parts = split(data)
        if parts and parts.bodies and len(parts.head) <= HEAD:
            if len(self._forms) >= REMEMBERED:
                self._forms.clear()
            self._forms[parts.head] = form


def split(data: bytes) -> Parts | None:
    """Take a serialized ModelInferRequest apart; None when its fields are not where serializers
    put them, or when it is none at all: then it is to be parsed as a whole."""
    offset, end, view = 0, len(data), memoryview(data)
    id_start = id_end = 0
    try:
        while offset < end and (tag := data[offset]) != _RAW_INPUT:
            start, stop = _extent(data, offset + 1)
            if tag == _ID and not id_end:
                id_start, id_end = offset, stop
                data[start:stop].decode()
            elif tag not in _HEAD_TAGS:
                return None
            offset = stop
        head, bodies = data[:id_start] + data[id_end:offset], []
        while offset < end:
            start, stop = _extent(data, offset + 1)
            if data[offset] != _RAW_INPUT:
                return None
            bodies.append(view[start:stop])
            offset = stop
    except (IndexError, UnicodeDecodeError):
        return None
    return Parts(head, data[id_start:id_end], bodies) if offset == end else None


def _extent(data: bytes, offset: int) -> tuple[int, int]:
    """Where the content of a length-delimited field begins and ends; its length is at `offset`.

    Raises:
        IndexError: the data ends within the length, or it has no end.
    """
    size = data[offset]
    if size < 0x80:
        return offset + 1, offset + 1 + size
    size &= 0x7F
    for shift in _SHIFTS:
        offset += 1
        byte = data[offset]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return offset + 1, offset + 1 + size
    raise IndexError("a length of more than five bytes")


def _tagged(tag: int, size: int) -> bytes:
    """Tag and length of a field."""
    made = bytearray([tag])
    while size >= 0x80:
        made.append(size & 0x7F | 0x80)
        size >>= 7
    made.append(size)
    return bytes(made)


def _rows_fit(port: tuple[int, ...], shape: tuple[int, ...], rows: int) -> bool:
    return not port or port[0] != signature.BATCH or shape[:1] == (rows,)
