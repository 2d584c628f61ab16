"""HTTP/2 frames: values to bytes and back, without any state (RFC 9113, sections 4 and 6)."""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
DEFAULT_WINDOW: Final = 65_535  # [bytes] of a connection, and of a stream until SETTINGS say more
DEFAULT_FRAME: Final = 16_384  # [bytes] the smallest maximum that a peer may set
MAX_FRAME: Final = 2**24 - 1
MAX_WINDOW: Final = 2**31 - 1

# Kinds are plain integers: an enum's member costs more to look up than the frame to parse.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

_HEADER = struct.Struct(">HBBBI")
_NUMBER = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_GOAWAY = struct.Struct(">II")
_PRIORITY_BYTES = 5
_FIXED = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}  # kind -> bytes of its payload


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """What the two sides tell each other; unknown numbers are ignored."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Breach(Exception):
    """The peer broke the protocol; the connection ends with `code`."""

    def __init__(self, code: Code, why: str) -> None:
        self.code = code
        super().__init__(why)


class StreamBreach(Exception):
    """The peer broke the protocol within one stream, which ends with `code`."""

    def __init__(self, code: Code, why: str) -> None:
        self.code = code
        super().__init__(why)


def header(data: bytes, offset: int) -> tuple[int, int, int, int]:
    """Length of the payload, kind, flags and stream of the frame at `offset`.

    Raises:
        struct.error: fewer than 9 bytes are left.
    """
    high, low, kind, flags, stream = _HEADER.unpack_from(data, offset)
    return high << 8 | low, kind, flags, stream & MAX_WINDOW


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def data_header(size: int, flags: int, stream: int) -> bytes:
    """The header of a DATA frame whose payload of `size` bytes follows."""
    return _HEADER.pack(size >> 8, size & 0xFF, DATA, flags, stream)


def headers(stream: int, block: bytes, *, end: bool, most: int = DEFAULT_FRAME) -> bytes:
    """A header block as HEADERS and, above `most` bytes, CONTINUATION frames."""
    flags = END_STREAM if end else 0
    if len(block) <= most:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [block[start : start + most] for start in range(0, len(block), most)]
    made = [frame(HEADERS, flags, stream, parts[0])]
    made += [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    made.append(frame(CONTINUATION, END_HEADERS, stream, parts[-1]))
    return b"".join(made)


def settings(values: Mapping[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def settings_ack() -> bytes:
    """The answer to SETTINGS."""
    return frame(SETTINGS, ACK, 0)


def ping_ack(payload: bytes) -> bytes:
    """The answer to a PING: the same eight bytes."""
    return frame(PING, ACK, 0, payload)


def reset(stream: int, code: Code) -> bytes:
    """Nothing more of this stream, in either direction."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway(last: int, code: Code, why: str = "") -> bytes:
    """No stream after `last` is served."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last, code) + why.encode())


def window_update(stream: int, size: int) -> bytes:
    """`size` more bytes may be sent; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(size))


def require_sense(kind: int, length: int, stream: int) -> None:
    """Hold the header of a frame against what its kind allows; before its payload is awaited.

    Raises:
        Breach: the length or the stream is wrong for the kind.
    """
    if length != _FIXED.get(kind, length) or (kind == GOAWAY and length < _GOAWAY.size):
        raise Breach(Code.FRAME_SIZE_ERROR, f"frame of kind {kind} with {length} bytes")
    alone = kind in (SETTINGS, PING, GOAWAY)
    if kind == PUSH_PROMISE or (alone and stream) or not (alone or stream or kind >= WINDOW_UPDATE):
        raise Breach(Code.PROTOCOL_ERROR, f"frame of kind {kind} on stream {stream}")


def block_of(flags: int, payload: bytes) -> bytes:
    """The header block fragment of a HEADERS frame, without padding and priority.

    Raises:
        Breach: the padding is longer than the payload.
    """
    start, padding = 0, 0
    if flags & PADDED:
        start, padding = 1, payload[0] if payload else MAX_FRAME
    start += _PRIORITY_BYTES if flags & PRIORITIZED else 0
    if start + padding > len(payload):
        raise Breach(Code.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[start : len(payload) - padding]


def number_of(payload: bytes) -> int:
    """The code of an RST_STREAM, or the increment of a WINDOW_UPDATE."""
    number: int = _NUMBER.unpack(payload)[0]
    return number & MAX_WINDOW


def settings_of(payload: bytes) -> dict[Setting, int]:
    """The settings that are known here; the last of equal ones counts.

    Raises:
        Breach: the payload is no list of settings, or a value is out of its range.
    """
    if len(payload) % _SETTING.size:
        raise Breach(Code.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    found = {}
    for key, value in _SETTING.iter_unpack(payload):
        if key in _SETTINGS:
            _require_range(_SETTINGS[key], value)
            found[_SETTINGS[key]] = value
    return found


def _require_range(setting: Setting, value: int) -> None:
    match setting:
        case Setting.ENABLE_PUSH if value > 1:
            raise Breach(Code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        case Setting.INITIAL_WINDOW_SIZE if value > MAX_WINDOW:
            raise Breach(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        case Setting.MAX_FRAME_SIZE if not DEFAULT_FRAME <= value <= MAX_FRAME:
            raise Breach(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")


_SETTINGS = {setting.value: setting for setting in Setting}
