"""List, then watch: the live keys of a bucket and every change, whatever the connection does.

Both implementations push changes in; the list is taken again after a reconnect, and from time to
time, because an expired key sends no event and a pushed change may be lost.
"""

from collections.abc import Awaitable, Callable
from typing import Self

import anyio

from shared.bus.port import Entry


class Watch:
    """An endless iterator of entries. A slow reader sees the newest value of a key only."""

    def __init__(self, list_all: Callable[[], Awaitable[list[Entry]]], *, period: float) -> None:
        """Args:
        list_all: reads all live keys.
        period: seconds between lists; an expired key is seen so late at most.
        """
        self._list_all = list_all
        self._period = period
        self._known: dict[str, int] = {}  # key -> revision last yielded; live keys only
        self._pending: dict[str, Entry] = {}
        self._wake = anyio.Event()
        self._stale = True
        self._listed_at = 0.0

    def change(self, entry: Entry) -> None:
        """A key was set or deleted."""
        waiting = self._pending.get(entry.key)
        if waiting is None or waiting.revision < entry.revision:
            self._pending[entry.key] = entry
            self._wake.set()

    def invalidate(self) -> None:
        """Changes may have been missed: list again."""
        self._stale = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        while True:
            await self._relist_when_due()
            while self._pending:
                entry = self._pending.pop(next(iter(self._pending)))
                if self._is_news(entry):
                    return entry
            self._wake = anyio.Event()
            if self._stale:
                continue
            with anyio.move_on_after(self._listed_at + self._period - anyio.current_time()):
                await self._wake.wait()

    async def _relist_when_due(self) -> None:
        if not self._stale and anyio.current_time() < self._listed_at + self._period:
            return
        self._stale = False
        try:
            entries = await self._list_all()
        except BaseException:
            self._stale = True
            raise
        self._listed_at = anyio.current_time()
        listed = {entry.key for entry in entries}
        for entry in entries:
            self.change(entry)
        # What was yielded before the list was asked for, and is not in it, is gone.
        for key in self._known.keys() - listed:
            self.change(Entry(key, None, self._known[key]))

    def _is_news(self, entry: Entry) -> bool:
        """Note an entry; False when its reader knows it already."""
        known = self._known.get(entry.key)
        if entry.value is None:
            if known is None or entry.revision < known:
                return False
            del self._known[entry.key]
            return True
        if known is not None and entry.revision <= known:
            return False
        self._known[entry.key] = entry.revision
        return True
