"""A lease: one key that expires by itself, renewed by compare and swap, over any implementation."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from shared.bus.port import Bus
from shared.contracts.errors import BusUnavailable, SuiteError
from shared.contracts.subjects import Bucket

RENEWALS_PER_TTL = 10 / 3  # each 0.6 s for 2 s
POLL_SECONDS = 0.2  # of one who waits for it


class KeyLease:
    """See port.Lease."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._until = -math.inf
        self._lost = anyio.Event()
        self.revision = 0

    @property
    def held(self) -> bool:
        """Whether this process may act."""
        return not self._lost.is_set() and anyio.current_time() < self._until

    async def lost(self) -> None:
        """Return when it is held no more."""
        while self.held:
            with anyio.move_on_after(self._until - anyio.current_time()):
                await self._lost.wait()

    def extend(self, revision: int, *, asked_at: float) -> None:
        """Note a renewal; its time counts from when it was asked for."""
        self.revision, self._until = revision, asked_at + self._ttl

    def lose(self) -> None:
        """Note that somebody else has it, or nobody."""
        self._lost.set()


@asynccontextmanager
async def hold(bus: Bus, key: str, *, ttl: float) -> AsyncIterator[KeyLease]:
    """See port.Bus.lease."""
    lease = KeyLease(ttl)
    await _wait_for(bus, key, lease, ttl)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_renew, bus, key, lease, ttl)
        try:
            yield lease
        except Exception as error:  # raised below, so that it is not wrapped in a group
            failure = error
        finally:
            group.cancel_scope.cancel()
            await _give_back(bus, key, lease)
    if failure is not None:
        raise failure


async def _claim(bus: Bus, key: str, lease: KeyLease, ttl: float) -> bool:
    """Take the key, or renew it; False when it is not ours."""
    asked_at = anyio.current_time()
    value = bus.name.encode()
    revision = await bus.swap(Bucket.LEADER, key, value, revision=lease.revision, ttl=ttl)
    if revision is None:
        return False
    lease.extend(revision, asked_at=asked_at)
    return True


async def _wait_for(bus: Bus, key: str, lease: KeyLease, ttl: float) -> None:
    while True:
        with suppress(BusUnavailable):  # a standby outlives an outage
            if await _claim(bus, key, lease, ttl):
                return
        await anyio.sleep(POLL_SECONDS)


async def _renew(bus: Bus, key: str, lease: KeyLease, ttl: float) -> None:
    while lease.held:
        await anyio.sleep(ttl / RENEWALS_PER_TTL)
        try:
            with anyio.move_on_after(ttl):
                if not await _claim(bus, key, lease, ttl):
                    break
        except SuiteError:
            continue  # the bus is away; `held` runs out by itself
    lease.lose()


async def _give_back(bus: Bus, key: str, lease: KeyLease) -> None:
    """Let the next one in at once; if the bus is away, the key expires."""
    held, revision = lease.held, lease.revision
    lease.lose()
    if not held:
        return
    with anyio.move_on_after(1.0, shield=True), suppress(SuiteError):
        await bus.remove(Bucket.LEADER, key, revision=revision)
