"""Has every variant measured once on every class, without anybody asking for it."""

import contextlib
import time
from collections import Counter

import anyio
import structlog

from services.profiler import gaps
from services.profiler.gaps import Gap
from services.profiler.quiet import Quiet
from services.profiler.workbench import Workbench, decoded
from shared.bus.port import Entry
from shared.chassis import jobs
from shared.contracts import subjects
from shared.contracts.errors import SuiteError
from shared.contracts.subjects import Bucket
from shared.contracts.v1.models import ModelManifest
from shared.contracts.v1.workers import WorkerCard

TRIES = 3  # jobs for one gap
REST = 30.0  # [s] after a try that failed
LOOK = 15.0  # [s] between looks when nothing is heard
PATIENCE = 60.0  # [s] to wait for a moment in which nobody works
LONGEST = 900.0  # [s] until a measurement counts as failed
log = structlog.get_logger()


class Filler:
    """Closes one gap after another. A job of any client may go between two of them."""

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._bus = workbench.bus
        self._quiet = Quiet()
        self._news = anyio.Event()
        self._classes: dict[str, tuple[str, str]] = {}  # worker -> class, device
        self._tries: Counter[Gap] = Counter()
        self._rests: dict[Gap, float] = {}  # until when [s, monotonic]

    async def run(self) -> None:
        """Follow models, workers and heartbeats for ever."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, Bucket.MODELS)
            group.start_soon(self._watch, Bucket.WORKERS)
            heartbeats = await self._bus.subscribe(subjects.ALL_HEARTBEATS, self._quiet.hear)
            try:
                await self._fill()
            finally:
                with anyio.CancelScope(shield=True), contextlib.suppress(SuiteError):
                    await heartbeats.stop()

    async def _watch(self, bucket: Bucket) -> None:
        while True:
            try:
                async with self._bus.watch(bucket) as changes:
                    async for entry in changes:
                        if bucket is Bucket.MODELS or self._moved(entry):
                            self._news.set()
            except SuiteError as error:
                log.warning("bucket.unwatched", bucket=bucket, reason=str(error))
                await anyio.sleep(LOOK)

    def _moved(self, entry: Entry) -> bool:
        """Whether a worker came or went, or is another than before; its card comes each second."""
        before = self._classes.pop(entry.key, None)
        for card in decoded(WorkerCard, [entry]):
            self._classes[entry.key] = card.worker_class, card.device
        return before != self._classes.get(entry.key)

    async def _fill(self) -> None:
        while True:
            self._news = anyio.Event()
            try:
                while await self._open():
                    await self._quiet.wait(PATIENCE)
                    for gap in (await self._open())[:1]:  # others may have closed some meanwhile
                        await self._close(gap)
            except SuiteError as error:
                log.warning("gaps.unfilled", reason=str(error))
            with anyio.move_on_after(LOOK):
                await self._news.wait()

    async def _open(self) -> list[Gap]:
        """Gaps that may be tried now, those with the fewest tries first."""
        manifests = decoded(ModelManifest, await self._bus.entries(Bucket.MODELS))
        found = gaps.find(manifests, await self._workbench.cards())
        now = time.monotonic()
        ready = [
            gap for gap in found if self._tries[gap] < TRIES and self._rests.get(gap, now) <= now
        ]
        return sorted(ready, key=lambda gap: self._tries[gap])

    async def _close(self, gap: Gap) -> None:
        """Ask for a measurement and wait for its end; what fails is asked for again, but not for
        ever, and not at all where that is known to be useless."""
        number = self._tries[gap] + 1
        job = gap.job(number)
        await jobs.submit(self._bus, job)
        self._tries[gap] = number
        told = {"model": gap.model, "variant": gap.variant, "worker_class": gap.worker_class}
        log.info("figures.asked", job=job.job, **told)
        self._rests[gap] = time.monotonic() + REST
        record = await jobs.wait(self._bus, job, timeout=LONGEST)
        if record.failure is None:
            self._rests.pop(gap)
            return
        if not record.failure.retryable:
            self._tries[gap] = TRIES
        log.warning("figures.missing", job=job.job, reason=record.failure.message, **told)
