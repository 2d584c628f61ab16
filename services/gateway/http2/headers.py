"""Header blocks: what a request asks for, and the blocks that answers begin and end with.

A gRPC client repeats itself: after its first call the whole block is made of references into
the table that both sides keep. Such a block means the same until the table changes, so it is
parsed once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import hpack

from services.gateway.faults import Fault, Status
from services.gateway.http2 import messages
from services.gateway.http2.frames import Breach, Code, StreamBreach

CONTENT_TYPE: Final = "application/grpc"
HARD: Final = 16  # times the limit of a call: a connection with larger blocks cannot be kept
REMEMBERED = 512  # blocks per connection
DETAILS = 2000  # characters of an error's text; clients take 8 KiB of headers in all
ENTRY_OVERHEAD = 32  # [bytes] that a header counts beside its name and value (RFC 7541, 4.1)

_INDEXED = 0x80  # a first byte from here on refers to the table and leaves it as it is
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}  # [s]
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
_PSEUDO = {":method", ":path", ":scheme", ":authority"}
_OF_ONE_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
_OF_THE_TRANSPORT = {"te", "content-type", "content-length", "grpc-timeout", "grpc-encoding"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without a body: an HTTP status when it is no call at all, else a fault."""

    http: HTTPStatus = HTTPStatus.OK
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a call."""

    path: str
    metadata: Mapping[str, str]  # text only: nobody here reads binary metadata
    timeout: float | None = None  # [s]
    encoding: str = messages.IDENTITY  # of messages that say they are compressed
    refusal: Refusal | None = None  # why it is not served, when it is not


class Reader:
    """Reads the header blocks of one connection, in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # [bytes] of the headers of one call
        self._decoder = hpack.Decoder(max_header_list_size=HARD * limit)
        self._known: dict[bytes, Request] = {}

    def read(self, block: bytes) -> Request:
        """The request of a block.

        Raises:
            Breach: the block does not decode, or its headers are far more than the limit; the
                table of the connection is lost.
            StreamBreach: its headers are no request.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        pairs = self.decode(block)
        request = _request(pairs, self._limit)
        if min(block, default=0) >= _INDEXED and len(self._known) < REMEMBERED:
            self._known[block] = request
        return request

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The headers of a block; raises `Breach` like `read`."""
        if min(block, default=0) < _INDEXED:
            self._known.clear()  # the table may change
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError as error:
            raise Breach(Code.ENHANCE_YOUR_CALM, str(error)) from None
        except hpack.HPACKError as error:
            raise Breach(Code.COMPRESSION_ERROR, str(error)) from None


def encode(pairs: Iterable[tuple[str, str]]) -> bytes:
    """A block that leaves the table of the peer alone, so that it may be sent at any time."""
    whole = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in pairs]
    return hpack.Encoder().encode(whole, huffman=False)


RESPONSE: Final = encode([(":status", "200"), ("content-type", CONTENT_TYPE)])
SUCCESS: Final = encode([("grpc-status", "0")])  # trailers


def trailers(fault: Fault) -> bytes:
    """The end of a call that had begun to answer."""
    return encode(_ending(fault))


def only_trailers(refusal: Refusal) -> bytes:
    """A whole answer without messages."""
    if refusal.fault is None:
        return encode([(":status", str(refusal.http.value)), ("content-length", "0")])
    head = [(":status", str(refusal.http.value)), ("content-type", CONTENT_TYPE)]
    return encode([*head, *_ending(refusal.fault)])


def _ending(fault: Fault) -> list[tuple[str, str]]:
    message = quote(fault.details[:DETAILS], safe=_PRINTABLE)
    return [("grpc-status", str(fault.status.value)), ("grpc-message", message), *fault.trailing]


def _request(pairs: list[tuple[bytes, bytes]], limit: int) -> Request:
    pseudo, fields = _fields(pairs)
    path = pseudo.get(":path", "")
    if not path or ":method" not in pseudo or ":scheme" not in pseudo:
        raise StreamBreach(Code.PROTOCOL_ERROR, "a request without method, scheme or path")
    size = sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in pairs)
    refusal = _refusal(pseudo[":method"], fields) or _fault(fields, size, limit)
    timeout = _timeout(fields.get("grpc-timeout"))
    encoding = fields.get("grpc-encoding", messages.IDENTITY)
    metadata = {
        name: value
        for name, value in fields.items()
        if name not in _OF_THE_TRANSPORT and not name.endswith("-bin")
    }
    return Request(path, metadata, timeout, encoding, refusal)


def _fields(pairs: list[tuple[bytes, bytes]]) -> tuple[dict[str, str], dict[str, str]]:
    """Pseudo headers and the others; of equal names the last value counts.

    Raises:
        StreamBreach: the list is not one that HTTP/2 allows.
    """
    pseudo: dict[str, str] = {}
    fields: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.startswith(":"):
            if name not in _PSEUDO or name in pseudo or fields:
                raise StreamBreach(Code.PROTOCOL_ERROR, f"pseudo header {name[:40]!r}")
            pseudo[name] = value
        elif name != name.lower() or name in _OF_ONE_HOP or not name:
            raise StreamBreach(Code.PROTOCOL_ERROR, f"header {name[:40]!r}")
        else:
            fields[name] = value
    if fields.get("te", "trailers") != "trailers":
        raise StreamBreach(Code.PROTOCOL_ERROR, f"te is {fields['te'][:40]!r}")
    return pseudo, fields


def _refusal(method: str, fields: Mapping[str, str]) -> Refusal | None:
    kind = fields.get("content-type", "")
    if method != "POST":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    if kind != CONTENT_TYPE and not kind.startswith((CONTENT_TYPE + "+", CONTENT_TYPE + ";")):
        return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return None


def _fault(fields: Mapping[str, str], size: int, limit: int) -> Refusal | None:
    """Why a call is refused for what it says about itself."""
    if size > limit:
        text = f"{size} bytes of headers; at most {limit} are taken"
        return Refusal(fault=Fault(Status.RESOURCE_EXHAUSTED, "", text, ()))
    encoding = fields.get("grpc-encoding", messages.IDENTITY)
    if encoding != messages.IDENTITY and encoding not in messages.ENCODINGS:
        text = f"grpc-encoding {encoding[:40]!r} is not served"
        accepted = (("grpc-accept-encoding", messages.ACCEPTED),)
        return Refusal(fault=Fault(Status.UNIMPLEMENTED, "", text, accepted))
    return None


def _timeout(text: str | None) -> float | None:
    """A duration of the protocol [s].

    Raises:
        StreamBreach: it is none.
    """
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise StreamBreach(Code.PROTOCOL_ERROR, f"grpc-timeout is {text[:40]!r}")
    return int(match[1]) * _UNITS[match[2]]
