"""How the tensors that may leave the device were used, and what their comings and goings cost."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from shared.placement import residency as decisions
from shared.placement.residency import Held


class Traffic(NamedTuple):
    """Counts since the backend was opened."""

    hits: int = 0  # uses of an uploaded tensor that found it on the device
    misses: int = 0  # those that had to bring it back
    evictions: int = 0
    bytes_up: int = 0  # to the device, all uploads
    bytes_down: int = 0
    bytes_again: int = 0  # the part of bytes_up that brought tensors back


class Shelf:
    """The history of each tensor that can be brought back, on the device or not."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.bytes_again = 0
        self._now = 0  # uploads and uses so far
        self._born = 0
        self._held: dict[int, Held] = {}
        self._pinned: Collection[int] = ()

    def put(self, size: int, cost: float) -> int:
        """Take up a tensor; returns its key.

        Args:
            size: [bytes] on the device.
            cost: [s] to have it back once it left.
        """
        self._born += 1
        self._now += 1
        self._held[self._born] = Held(self._born, size, cost, self._now)
        return self._born

    def forget(self, key: int) -> None:
        """The tensor was released."""
        self._held.pop(key, None)

    def pin(self, keys: Collection[int]) -> None:
        """Until the next call of this, these stay."""
        self._pinned = keys

    def used(self, key: int, *, found: bool) -> None:
        """A call reads a tensor, which was on the device or has to be brought back first."""
        self._now += 1
        self._held[key] = self._held[key].read(self._now)
        if found:
            self.hits += 1
        else:
            self.misses += 1

    def back(self, key: int, cost: float) -> None:
        """A tensor came back; what it would cost the next time [s]."""
        self._held[key] = self._held[key]._replace(cost=cost)
        self.bytes_again += self._held[key].size

    def leaving(self, need: int, free: Callable[[int], bool]) -> tuple[int, ...] | None:
        """Keys of what to drop for `need` bytes, of those that `free` says could go; None when
        that is not enough."""
        there = [one for key, one in self._held.items() if free(key)]
        chosen = decisions.leaving(there, self._pinned, need, self._now)
        if chosen is None:
            return None
        self.evictions += len(chosen)
        return tuple(one.key for one in chosen)
