"""Where runs of training stand, for whoever takes them up.

A checkpoint is a blob; where it is stands in `el_ctl` under a hash of all that the result depends
on. So a job that is asked for again is answered from the last checkpoint, too.
"""

from collections.abc import Callable

import anyio.to_thread
import structlog

from shared.bus.port import Bus
from shared.contracts.errors import BlobMissing
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.network.training import state
from shared.network.training.state import TrainState

SLICE = 0.05  # [s] of steps before others may use the device
LEG = 5.0  # [s] of steps between checkpoints
log = structlog.get_logger()


class Checkpoints:
    """The last state of every run, by key."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def last(
        self, key: str, checked: Callable[[TrainState], TrainState]
    ) -> TrainState | None:
        """The last checkpoint; None when there is none that can be read.

        Args:
            checked: returns what it is given, or raises ValueError when no run of this key can
                have come to it.
        """
        entry = await self._bus.get(Bucket.CONTROL, key)
        if entry is None or entry.value is None:
            return None
        try:
            data = await self._bus.get_blob(BlobRef.model_validate_json(entry.value))
            return checked(await anyio.to_thread.run_sync(state.unpack, data))
        except (BlobMissing, ValueError) as error:
            log.warning("checkpoint.refused", key=key, reason=str(error))
            return None

    async def keep(self, key: str, now: TrainState) -> None:
        """Store a checkpoint in place of the last one."""
        ref = await self._bus.put_blob(await anyio.to_thread.run_sync(state.pack, now))
        last = await self._bus.get(Bucket.CONTROL, key)
        await self._bus.put(Bucket.CONTROL, key, ref.model_dump_json().encode())
        if last is not None and last.value is not None:
            old = BlobRef.model_validate_json(last.value)
            if old != ref:
                await self._bus.delete_blob(old)
