"""Flow control: how much the peer may send to us, and how much we may send to it."""

from collections import deque
from typing import Final

from services.gateway.http2.frames import MAX_WINDOW, Breach, Code

EASE: Final = 2**16  # [bytes] of a stream that may wait to be sent before its writer waits


class Inflow:
    """What the peer may still send on a stream, or on the whole connection [bytes]."""

    __slots__ = ("_left", "_size")

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def take(self, size: int) -> None:
        """The peer has sent so much.

        Raises:
            Breach: more than it was allowed to.
        """
        self._left -= size
        if self._left < 0:
            raise Breach(Code.FLOW_CONTROL_ERROR, f"{-self._left} bytes beyond the window")

    def grant(self) -> int:
        """How much more to allow it now; 0 while it has half of the window left."""
        used = self._size - self._left
        if 2 * used < self._size:
            return 0
        self._left = self._size
        return used


class Outflow:
    """What we may still send on a stream, or on the whole connection [bytes].

    A change of SETTINGS may make it negative.
    """

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def widen(self, size: int) -> bool:
        """The peer allows more; returns whether that is a window that a peer may give."""
        self.left += size
        return self.left <= MAX_WINDOW


class Outbox:
    """Messages of one stream that wait for its window, cut into frames as room allows."""

    __slots__ = ("_parts", "size")

    def __init__(self) -> None:
        self._parts: deque[memoryview] = deque()
        self.size = 0  # [bytes]

    def put(self, part: bytes) -> None:
        """Add to the end."""
        self._parts.append(memoryview(part))
        self.size += len(part)

    def take(self, most: int) -> memoryview:
        """The next bytes, at least one and at most so many."""
        part = self._parts[0]
        if len(part) <= most:
            self._parts.popleft()
        else:
            self._parts[0] = part[most:]
            part = part[:most]
        self.size -= len(part)
        return part


class Allowance:
    """Frames that cost us and bring nothing: a peer has a burst of them, then so many a second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._left = burst
        self._rate, self._at = rate, now

    def spend(self, now: float, cost: float = 1.0) -> None:
        """Count one, or what costs as much as several.

        Raises:
            Breach: it is one too many.
        """
        refilled = self._left + (now - self._at) * self._rate
        self._left, self._at = min(self._burst, refilled) - cost, now
        if self._left < 0:
            raise Breach(Code.ENHANCE_YOUR_CALM, "too many frames that bring nothing")
