"""One act on the bus per instruction. What an act teaches comes back as an event."""

from collections.abc import Callable

import structlog

from services.scheduler.events import Ended, Event, Looked, Placed, Unperformed, key
from services.scheduler.held import Held
from services.scheduler.instructions import (
    Acknowledge,
    Announce,
    DeadLetter,
    Discard,
    Finish,
    Instruction,
    Look,
    Place,
    PublishRoute,
    RemoveRoute,
    Return,
)
from shared.bus.port import Bus
from shared.contracts import frame, subjects
from shared.contracts.errors import InvalidMessage, SuiteError
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import JobEvent, JobFinished, Status

log = structlog.get_logger()


async def record_of(bus: Bus, tenant: str, job: str) -> JobFinished | None:
    """How a job ended, if it has. A record that cannot be read still says that it ended."""
    stored = await bus.last(Stream.RESULTS, subjects.result(tenant, job))
    if stored is None:
        return None
    try:
        return frame.message_of(stored.data, JobFinished)
    except InvalidMessage:
        return JobFinished(job=job, tenant=tenant, kind="unknown", status=Status.FAILED)


class Performer:
    """Performs instructions; knows the bus and the deliveries in hand, and no policy."""

    def __init__(self, bus: Bus, held: Held, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._held = held
        self._clock = clock

    async def perform(self, instruction: Instruction) -> Event | None:
        """Do it; a bus that refuses becomes an event, for the machine to decide about."""
        try:
            return await self._act(instruction)
        except SuiteError as error:
            name = type(instruction).__name__
            log.warning("instruction.refused", instruction=name, reason=str(error))
            return Unperformed(instruction, str(error))

    async def _act(self, instruction: Instruction) -> Event | None:
        match instruction:
            case Place():
                return await self._place(instruction)
            case Finish():
                return await self._finish(instruction)
            case Look():
                return await self._look(instruction)
            case DeadLetter():
                await self._bury(instruction)
            case Acknowledge():
                await self._held.acknowledge(instruction.delivery)
            case Return():
                await self._held.give_back(instruction.delivery, instruction.delay)
            case Discard():
                await self._bus.delete(Stream.RUN, instruction.sequence)
            case Announce() | PublishRoute() | RemoveRoute():
                await self._tell(instruction)
        return None

    async def _tell(self, instruction: Announce | PublishRoute | RemoveRoute) -> None:
        match instruction:
            case Announce():
                await self._announce(instruction)
            case PublishRoute(route):
                await self._bus.put(Bucket.ROUTES, f"model.{route.model}", route.encode())
                log.info("route.published", model=route.model)
            case RemoveRoute(model):
                await self._bus.remove(Bucket.ROUTES, f"model.{model}")

    async def _place(self, asked: Place) -> Placed:
        name = key(asked.tenant, asked.job)
        receipt = await self._bus.publish_once(
            subjects.run(asked.worker_class, asked.kind),
            asked.data,
            message_id=f"{name}.{asked.attempt}",
            headers={
                "El-Job": name,
                "El-Kind": asked.kind,
                "El-Attempt": str(asked.attempt),
                "El-Digest": asked.digest,
            },
        )
        log.info(
            "job.placed",
            tenant=asked.tenant,
            job=asked.job,
            kind=asked.kind,
            worker_class=asked.worker_class,
            attempt=asked.attempt,
            reason=str(asked.reason),
        )
        await self._settle(asked.delivery, asked.replaces)
        return Placed(name, asked.attempt, receipt.sequence)

    async def _finish(self, asked: Finish) -> Ended:
        record = JobFinished(
            job=asked.job,
            tenant=asked.tenant,
            kind=asked.kind,
            status=asked.status,
            digest=asked.digest,
            attempt=asked.attempt,
            worker_class=asked.worker_class,
            failure=asked.failure,
        )
        written = await self._bus.write_result(
            subjects.result(asked.tenant, asked.job), record.encode()
        )
        log.info(
            "job.finished",
            tenant=asked.tenant,
            job=asked.job,
            kind=asked.kind,
            outcome=asked.status.value,
            code=asked.failure.code,
            reason=asked.failure.message,
            first=written,
        )
        if asked.letter is not None:
            await self._bury(asked.letter)
        await self._settle(asked.delivery, asked.queued)
        return Ended(key(asked.tenant, asked.job))

    async def _settle(self, delivery: int | None, stale: int | None) -> None:
        """What is stored makes these superfluous; left behind, they come again and end the same."""
        try:
            if delivery is not None:
                await self._held.acknowledge(delivery)
            if stale is not None:
                await self._bus.delete(Stream.RUN, stale)
        except SuiteError as error:
            log.warning("settle.refused", delivery=delivery, stale=stale, reason=str(error))

    async def _look(self, asked: Look) -> Looked:
        record = await record_of(self._bus, asked.tenant, asked.job)
        queued = asked.sequence is not None and (
            await self._bus.message(Stream.RUN, asked.sequence) is not None
        )
        return Looked(key(asked.tenant, asked.job), asked.attempt, record, queued)

    async def _bury(self, letter: DeadLetter) -> None:
        name = key(letter.tenant, letter.job)
        await self._bus.publish_once(
            subjects.dead(letter.stream, letter.reason),
            letter.data,
            message_id=f"{name}.{letter.reason}.{letter.digest}",
            headers={
                "El-Job": name,
                "El-Kind": letter.kind,
                "El-Digest": letter.digest,
                "El-Code": letter.code,
                "El-Attempts": str(letter.attempts),
                "El-Subject": _printable(letter.subject),
                "El-Error": _printable(letter.message),
            },
        )
        log.error("job.buried", tenant=letter.tenant, job=letter.job, reason=letter.reason)
        await self._settle(letter.delivery, None)

    async def _announce(self, told: Announce) -> None:
        event = JobEvent(
            job=told.job,
            tenant=told.tenant,
            what=told.what,
            at=self._clock(),
            digest=told.digest,
            worker=told.worker,
            worker_class=told.worker_class,
            attempt=told.attempt,
            reason=told.reason,
            kind=told.kind,
            sequence=told.sequence,
        ).encode()
        await self._bus.publish(subjects.audit(told.tenant, told.job, told.what), event)
        if told.what != "ended":  # the record itself is announced by the stream
            await self._bus.publish(subjects.event(told.tenant, told.job, told.what), event)


def _printable(text: str) -> str:
    """Text that fits a header: printable ASCII on one line, 500 characters at most."""
    flat = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return "".join(one for one in flat[:500] if one.isprintable())
