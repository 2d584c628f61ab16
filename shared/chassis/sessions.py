"""The sessions of a worker: streams whose neurons it keeps in memory between two calls.

A session is a card in `el_sessions`, changed by compare and swap, and a snapshot of what its
neurons keep. A worker that is asked for a session it does not hold takes it up from there. So a
session that goes on elsewhere ends here: the next swap fails, and what is in memory is dropped.
Snapshots follow a call within a second; a worker that drains leaves one of every session.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
import structlog

from shared.bus.port import Bus
from shared.chassis.artifacts import Artifacts
from shared.contracts.errors import (
    InvalidMessage,
    SessionElsewhere,
    SuiteError,
    UnknownSession,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.sessions import (
    Learning,
    SessionCard,
    SessionStart,
    SessionWork,
)
from shared.network import plastic, streaming
from shared.network.graph import Network
from shared.tensors import container
from shared.tensors.layouts import Tensor

MOST = 1024  # sessions in memory; the one that was used longest ago makes room
SNAPSHOT_EVERY = 1.0  # [s]
log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Held:
    """A session in memory."""

    key: str
    card: SessionCard
    revision: int  # of the card
    written: float  # when the card was, on the shelf's clock [s]
    used: float
    steps: int = 0
    rows: int = 0
    kept: Mapping[str, Tensor] = field(default_factory=dict)  # empty: the next call is the first

    @property
    def dirty(self) -> bool:
        """Whether a snapshot would tell anything new."""
        return (self.steps, self.rows) != (self.card.steps, self.card.rows)


class Shelf:
    """What a worker holds of sessions, and where it stores them."""

    def __init__(self, bus: Bus, worker: str, artifacts: Artifacts) -> None:
        self._bus = bus
        self._worker = worker
        self._artifacts = artifacts
        self._held: dict[str, Held] = {}
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._clock = time.monotonic

    def __len__(self) -> int:
        """Sessions in memory."""
        return len(self._held)

    def lock(self, key: str) -> anyio.Lock:
        """Who works with a session holds its lock."""
        made = self._locks.get(key)
        if made is None:
            made = self._locks[key] = anyio.Lock()
        return made

    async def find(self, key: str, work: SessionWork) -> tuple[Held, bool]:
        """The session of a call, and whether it was taken up from its snapshot.

        Raises:
            InvalidMessage: it would begin on a network that keeps nothing.
            UnknownSession: there is none, and the call does not begin one.
            SessionElsewhere: another worker holds it.
            BlobMissing, InvalidNetwork: its snapshot or its network cannot be read.
        """
        held, again = self._held.get(key), False
        if work.call.start is not None:
            held = await self._begin(key, work, held)
        elif held is None:
            held, again = await self._take_up(key, take=work.take), True
        if key not in self._held:
            await self._make_room()
        self._held.pop(key, None)
        held.used = self._clock()
        self._held[key] = held  # last: it was used latest
        return held, again

    async def snapshot(self, held: Held) -> None:
        """Store what a session keeps, and say so on its card.

        Raises:
            SessionElsewhere: it goes on elsewhere; it is dropped here.
        """
        last, ref = held.card.snapshot, None
        if held.kept:
            told = {"session": held.key, "steps": str(held.steps)}  # no other has these bytes
            data = await anyio.to_thread.run_sync(container.pack, dict(held.kept), told)
            ref = await self._bus.put_blob(data)
        known = {"steps": held.steps, "rows": held.rows, "snapshot": ref}
        await self._write(held, held.card.model_copy(update=known))
        if last is not None and last != ref:
            await self._bus.delete_blob(last)

    async def restore(self, held: Held) -> None:
        """Go back to the last snapshot; without one to the beginning."""
        held.kept = await self._read(held.card.snapshot)
        held.steps, held.rows = held.card.steps, held.card.rows

    async def end(self, held: Held) -> None:
        """Forget a session.

        Raises:
            SessionElsewhere: it goes on elsewhere, and keeps its snapshot; it is dropped here.
        """
        self._held.pop(held.key, None)
        if not await self._bus.remove(Bucket.SESSIONS, held.key, revision=held.revision):
            entry = await self._bus.get(Bucket.SESSIONS, held.key)
            if entry is not None and entry.value is not None:
                raise _elsewhere(held.key)
        if held.card.snapshot is not None:
            await self._bus.delete_blob(held.card.snapshot)

    async def keep(self) -> None:
        """Snapshot what has changed, and end what nobody called for too long; for ever."""
        while True:
            await anyio.sleep(SNAPSHOT_EVERY)
            await self.settle()

    async def settle(self) -> None:
        """One pass over all sessions that nobody works with."""
        for held in list(self._held.values()):
            lock = self.lock(held.key)
            if lock.locked():
                continue
            async with lock:
                try:
                    with anyio.CancelScope(shield=True):  # a swap is never left half known
                        await self._settle(held)
                except SuiteError as error:  # the next pass tries again
                    log.warning("session.unsaved", session=held.key, reason=str(error))

    async def leave(self) -> None:
        """Store every session and forget it here; another worker may take it up."""
        for held in list(self._held.values()):
            async with self.lock(held.key):
                try:
                    if held.dirty:
                        await self.snapshot(held)
                except SuiteError as error:
                    log.error("session.unsaved", session=held.key, reason=str(error))
                self._held.pop(held.key, None)

    async def _settle(self, held: Held) -> None:
        now = self._clock()
        if now - held.used > held.card.ttl:
            await self.end(held)
        elif held.dirty or held.used - held.written > held.card.ttl / 3:
            await self.snapshot(held)

    async def _begin(self, key: str, work: SessionWork, last: Held | None) -> Held:
        start = work.call.start
        if start is None or work.artifact is None or work.variant is None:
            raise InvalidMessage("a session begins with the artifact of a variant")
        async with self._artifacts.using(work.artifact) as loaded:
            _require_stream(loaded.network, start)
        if last is not None:
            with contextlib.suppress(SessionElsewhere):
                await self.end(last)
        entry = await self._bus.get(Bucket.SESSIONS, key)
        revision = entry.revision if entry and entry.value is not None else 0
        card = SessionCard(
            worker=self._worker,
            model=start.model,
            variant=work.variant,
            artifact=work.artifact,
            ttl=start.ttl,
            learning=start.learning,
        )
        held = Held(key, card, revision, 0.0, self._clock())
        await self._write(held, card)
        return held

    async def _take_up(self, key: str, *, take: bool) -> Held:
        entry = await self._bus.get(Bucket.SESSIONS, key)
        if entry is None or entry.value is None:
            raise UnknownSession(f"no session {key.partition('.')[2]!r}")
        card = SessionCard.decode(entry.value)
        if card.worker != self._worker and not take:
            raise SessionElsewhere(f"session {key!r} is with worker {card.worker}")
        held = Held(key, card, entry.revision, 0.0, self._clock())
        await self.restore(held)
        await self._write(held, card.model_copy(update={"worker": self._worker}))
        log.info("session.taken", session=key, steps=held.steps, last=card.worker)
        return held

    async def _read(self, snapshot: BlobRef | None) -> dict[str, Tensor]:
        if snapshot is None:
            return {}
        data = await self._bus.get_blob(snapshot)
        return await anyio.to_thread.run_sync(container.unpack, data)

    async def _write(self, held: Held, card: SessionCard) -> None:
        revision = await self._bus.swap(
            Bucket.SESSIONS, held.key, card.encode(), revision=held.revision, ttl=card.ttl
        )
        if revision is None:
            self._held.pop(held.key, None)
            raise _elsewhere(held.key)
        held.card, held.revision, held.written = card, revision, self._clock()

    async def _make_room(self) -> None:
        """Leave the session that was used longest ago to its snapshot."""
        while len(self._held) >= MOST:
            for held in self._held.values():
                if not self.lock(held.key).locked():
                    break
            else:
                return
            async with self.lock(held.key):
                if held.dirty:
                    await self.snapshot(held)
                self._held.pop(held.key, None)


def _elsewhere(key: str) -> SessionElsewhere:
    return SessionElsewhere(f"session {key!r} goes on at another worker")


def running(network: Network, learns: Learning | None) -> Network:
    """What a session runs: the network, or one of which a layer learns.

    Raises:
        ValueError: the layer cannot.
    """
    if learns is None:
        return network
    rule = plastic.Learning(**learns.model_dump(exclude={"layer"}))
    return plastic.learning(network, learns.layer, rule)


def _require_stream(network: Network, start: SessionStart) -> None:
    try:
        streaming.opened(running(network, start.learning), rows=1)
    except ValueError as error:
        raise InvalidMessage(f"{start.model!r} has no such sessions: {error}") from None
