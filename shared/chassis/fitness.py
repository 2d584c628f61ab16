"""Whether a worker may be given work: said by whoever watches its device, heeded by its loops."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.errors import DeviceLost


class State(StrEnum):
    """How a worker stands to its device."""

    FIT = "fit"
    AWAY = "away"  # the device is being started again
    UNREADY = "unready"  # it failed several times in a row; it is tried on, ever more rarely
    QUARANTINED = "quarantined"  # it computed wrongly; only a new start of the worker ends this


@dataclass(frozen=True, slots=True)
class Standing:
    """A state and the reason for it."""

    state: State = State.FIT
    reason: str = ""

    @property
    def fit(self) -> bool:
        """Whether work may be given."""
        return self.state is State.FIT


class Fitness:
    """The standing of one worker. Any thread may change it; one task may follow the changes."""

    def __init__(self) -> None:
        self.standing = Standing()
        self._lock = threading.Lock()
        self._follower: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def become(self, state: State, reason: str = "") -> None:
        """Change the standing; a quarantine stays."""
        with self._lock:
            if self.standing.state is State.QUARANTINED:
                return
            self.standing = Standing(state, reason)
            if self._follower is not None:
                loop, changed = self._follower
                loop.call_soon_threadsafe(changed.set)

    def require(self) -> None:
        """Return when work may be done.

        Raises:
            DeviceLost: it may not; says why.
        """
        standing = self.standing
        if not standing.fit:
            raise DeviceLost(f"the worker takes no work: {standing.reason}")

    def require_trust(self) -> None:
        """Return when what the device computed may be given out.

        Raises:
            DeviceLost: it is quarantined; says why.
        """
        if self.standing.state is State.QUARANTINED:
            self.require()

    async def follow(self) -> AsyncGenerator[Standing]:
        """The standing now and whenever it has changed; changes in quick succession are one."""
        changed = asyncio.Event()
        with self._lock:
            self._follower = (asyncio.get_running_loop(), changed)
        try:
            known = self.standing
            yield known
            while True:
                await changed.wait()
                changed.clear()
                if (now := self.standing) != known:
                    known = now
                    yield now
        finally:
            with self._lock:
                self._follower = None
