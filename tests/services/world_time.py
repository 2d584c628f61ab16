"""Simulated time: acts that happen when their moment comes."""

import heapq
import itertools
from collections.abc import Callable

Act = Callable[[], None]


class Timeline:
    """A clock [s] that stands still but for `advance`, and a queue of timed acts."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._acts: list[tuple[float, int, Act]] = []
        self._order = itertools.count(1)  # of acts of the same moment

    def after(self, delay: float, act: Act) -> None:
        """Have something happen in `delay` seconds."""
        heapq.heappush(self._acts, (self.now + delay, next(self._order), act))

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due meanwhile."""
        until = self.now + seconds
        while self._acts and self._acts[0][0] <= until:
            self.now, _, act = heapq.heappop(self._acts)
            act()
        self.now = until
