"""One end of the socket between parent and child: packets, with descriptors beside them.

A packet socket keeps the borders of messages, so a packet is whole or does not come, and a
descriptor comes with the packet that speaks of it.
"""

import array
import os
import socket
from typing import Self

PACKET = 2**17  # [bytes] at most; commands are short, arrays travel in shared memory
DESCRIPTORS = 8  # of one packet at most
_ANCILLARY = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)


class Closed(OSError):
    """The other side has gone."""


class Channel:
    """Sends and receives packets; blocks, at most for the time limit."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """A channel, and the raw other end for a child to inherit."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PACKET)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PACKET)
        return cls(ours), theirs

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """The end that a parent has left open for us."""
        return cls(socket.socket(fileno=descriptor))

    def limit(self, seconds: float | None) -> None:
        """Let `send` and `receive` wait so long [s]; None: for ever."""
        self._end.settimeout(seconds)

    def send(self, packet: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send a packet; its descriptors stay ours to close.

        Raises:
            Closed: the other side has gone.
            TimeoutError: it did not take the packet in time.
        """
        try:
            if descriptors:
                socket.send_fds(self._end, [packet], list(descriptors))
            else:
                self._end.send(packet)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(self) -> tuple[bytes, tuple[int, ...]]:
        """Wait for a packet; its descriptors are ours to close.

        Raises:
            Closed: the other side has gone.
            TimeoutError: nothing came in time.
        """
        try:
            packet, ancillary, _, _ = self._end.recvmsg(PACKET, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(str(error)) from None
        descriptors = _descriptors(ancillary)
        if not packet:
            for descriptor in descriptors:
                os.close(descriptor)
            raise Closed("the other side has closed")
        return packet, descriptors

    def close(self) -> None:
        """Let go; the other side notices."""
        self._end.close()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return tuple(found)
