"""Ask for a profile of every class whose device nobody has measured yet."""

import hashlib
import time

import anyio
import structlog

from services.profiler import devices
from services.profiler.workbench import TENANT, Workbench, computes
from shared.chassis import jobs
from shared.contracts.errors import InvalidMessage, SuiteError
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import JobSubmitted, ProfileBody
from shared.contracts.v1.workers import WorkerCard

AGAIN = 600.0  # [s] until a class that could not be measured is tried again
LOOK = 5.0  # [s] between looks when the watch had to end
log = structlog.get_logger()


async def watch(workbench: Workbench) -> None:
    """Follow the workers' cards for ever; a measurement is a durable job like any other."""
    asked: set[str] = set()  # job ids
    while True:
        try:
            async with workbench.bus.watch(Bucket.WORKERS) as changes:
                async for entry in changes:
                    if entry.value is not None:
                        await _consider(workbench, entry.value, asked)
        except SuiteError as error:
            log.warning("newcomers.unwatched", reason=str(error))
            await anyio.sleep(LOOK)


async def _consider(workbench: Workbench, data: bytes, asked: set[str]) -> None:
    try:
        card = WorkerCard.decode(data)
    except InvalidMessage:  # the scheduler reports it
        return
    name = job_id(card, time.time())
    if not computes(card) or name in asked:
        return
    known = await devices.stored(workbench, card.worker_class)
    asked.add(name)
    if known is not None and (known.device, known.driver) == (card.device, card.driver):
        return
    job = JobSubmitted(
        job=name, tenant=TENANT, priority=3, body=ProfileBody(worker_class=card.worker_class)
    )
    await jobs.submit(workbench.bus, job)
    log.info("profile.asked", worker_class=card.worker_class, device=card.device)


def job_id(card: WorkerCard, now: float) -> str:
    """One id per class, device, driver and slice of time: several profilers ask only once."""
    told = f"{card.worker_class}\n{card.device}\n{card.driver}\n{int(now // AGAIN)}"
    return f"profile-{card.worker_class[:40]}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
