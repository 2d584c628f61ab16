"""Tuned values between workers: a document in the bucket serves every host with such a device."""

from collections.abc import Awaitable, Callable

import structlog

from services.gpu_worker.tuned import entry
from services.gpu_worker.tuned.entry import Unreadable
from services.gpu_worker.tuned.store import NotStored, Store
from services.gpu_worker.tuning import Tuning
from shared.bus.port import Bus
from shared.contracts.errors import SuiteError
from shared.contracts.subjects import Bucket

log = structlog.get_logger()


async def exchange(
    bus: Bus, store: Store, key: str, start: Tuning, adopt: Callable[[bytes], Awaitable[None]]
) -> None:
    """Publish what this cache holds; if it holds nothing, take what the bucket has.

    Args:
        bus: with the bucket.
        store: of this host.
        key: of the device; see `store.key_of`.
        start: its start values.
        adopt: told a document that came from the bucket and was found sound.
    """
    try:
        await _exchange(bus, store, key, start, adopt)
    except SuiteError as error:  # a worker serves with start values as well
        log.warning("tuned.not_exchanged", key=key, reason=str(error))


async def _exchange(
    bus: Bus, store: Store, key: str, start: Tuning, adopt: Callable[[bytes], Awaitable[None]]
) -> None:
    name = f"tuned.{key}"
    shared = await bus.get(Bucket.ROUTES, name)
    own = store.read(key, start)
    if own is not None:
        content = entry.encode(own)
        if shared is None or shared.value != content:
            await bus.put(Bucket.ROUTES, name, content)
        return
    if shared is None or shared.value is None:
        return
    try:
        document = entry.decode(shared.value, key, start)
    except Unreadable as error:
        log.warning("tuned.ignored", bucket=Bucket.ROUTES, key=name, reason=str(error))
        return
    try:
        store.write(document)
    except NotStored as error:  # then it is asked for again at the next start
        log.warning("tuned.not_stored", reason=str(error))
    await adopt(shared.value)
