"""Tuned values between workers: a document in the bucket serves every host with such a device."""

from collections.abc import Callable
from typing import Protocol

import anyio.to_thread
import structlog

from services.gpu_worker import tuning
from services.gpu_worker.tuned import entry
from services.gpu_worker.tuned.entry import Unreadable
from services.gpu_worker.tuned.store import NotStored, Store, key_of
from services.gpu_worker.tuning import Tuning
from shared.bus.port import Bus
from shared.contracts.errors import SuiteError
from shared.contracts.subjects import Bucket

log = structlog.get_logger()


class Opened(Protocol):
    """What is known of a device."""

    @property
    def name(self) -> str: ...

    @property
    def driver(self) -> str: ...

    @property
    def worker_class(self) -> str: ...


async def exchange(bus: Bus, store: Store, device: Opened, adopt: Callable[[bytes], None]) -> None:
    """Publish what this cache holds; if it holds nothing, take what the bucket has.

    Args:
        bus: with the bucket.
        store: of this host.
        device: that was opened.
        adopt: told a document that came from the bucket and was found sound; may block.
    """
    start = tuning.of_class(device.worker_class)
    key = key_of(device.name, device.driver, start)
    try:
        found = await _exchange(bus, store, key, start)
        if found is not None:
            await anyio.to_thread.run_sync(adopt, found)
    except SuiteError as error:  # a worker serves with start values as well
        log.warning("tuned.not_exchanged", key=key, reason=str(error))


async def _exchange(bus: Bus, store: Store, key: str, start: Tuning) -> bytes | None:
    """What the bucket has and the cache has not."""
    name = f"tuned.{key}"
    shared = await bus.get(Bucket.ROUTES, name)
    there = shared.value if shared else None
    own = store.read(key, start)
    if own is not None:
        if there != (content := entry.encode(own)):
            await bus.put(Bucket.ROUTES, name, content)
        return None
    if there is None:
        return None
    try:
        document = entry.decode(there, key, start)
        store.write(document)
    except Unreadable as error:
        log.warning("tuned.ignored", bucket=Bucket.ROUTES, key=name, reason=str(error))
        return None
    except NotStored as error:  # then it is asked for again at the next start
        log.warning("tuned.not_stored", reason=str(error))
    return there
