"""Broadcasts and bucket entries as events; what does not parse is logged and passed over."""

from collections.abc import Callable

import structlog

from services.scheduler.events import Cancelled, Event, ModelGone, ProfileGone, WorkerGone
from shared.bus.port import Entry, Inbound
from shared.contracts import frame, subjects
from shared.contracts.errors import InvalidMessage
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import JobEvent, JobFinished, Status
from shared.contracts.v1.models import ModelManifest, Route
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, WorkerCard

log = structlog.get_logger()
Read = Callable[[Inbound], Event]


def heartbeat(message: Inbound) -> Event:
    """A worker lives."""
    return Heartbeat.decode(message.data)


def done(message: Inbound) -> Event:
    """A record was stored. One that does not parse still says by its subject that it was."""
    tenant, job = message.subject.split(".")[3:5]
    try:
        return frame.message_of(message.data, JobFinished)
    except InvalidMessage:
        return JobFinished(job=job, tenant=tenant, kind="unknown", status=Status.FAILED)


def job_event(message: Inbound) -> Event:
    """A worker took a job in hand, or gave it back."""
    return JobEvent.decode(message.data)


def cancel(message: Inbound) -> Event:
    """Somebody wants a job stopped; the message names the tenant, empty means any."""
    return Cancelled(message.data.decode(errors="replace"), message.subject.rpartition(".")[2])


BROADCASTS: tuple[tuple[str, Read], ...] = (
    (subjects.ALL_HEARTBEATS, heartbeat),
    (subjects.ALL_DONE, done),
    (subjects.ALL_STARTED, job_event),
    (subjects.ALL_RETURNED, job_event),
    (subjects.ALL_CANCELS, cancel),
)


def hear(read: Read, heed: Callable[[Event], None], message: Inbound) -> None:
    """Parse a broadcast and pass it on."""
    try:
        event = read(message)
    except Exception as error:  # anybody may publish anything
        log.warning("broadcast.unreadable", subject=message.subject, reason=str(error))
        return
    heed(event)


def entry(bucket: Bucket, changed: Entry) -> Event | None:
    """A change of a bucket; None for what does not concern scheduling."""
    try:
        match bucket:
            case Bucket.WORKERS:
                return _worker(changed)
            case Bucket.MODELS:
                return _model(changed)
            case Bucket.ROUTES:
                return _route(changed)
            case Bucket.CONTROL:
                return _control(changed)
            case _:
                return None
    except Exception as error:  # as above
        log.warning("entry.unreadable", bucket=bucket, key=changed.key, reason=str(error))
        return None


def _worker(changed: Entry) -> Event:
    return WorkerCard.decode(changed.value) if changed.value else WorkerGone(changed.key)


def _model(changed: Entry) -> Event:
    return ModelManifest.decode(changed.value) if changed.value else ModelGone(changed.key)


def _control(changed: Entry) -> Event | None:
    """A stored wish to cancel: broadcasts may be lost."""
    what, _, job = changed.key.partition(".")
    if what != "cancel" or changed.value is None:
        return None
    return Cancelled(changed.value.decode(errors="replace"), job)


def _route(changed: Entry) -> Event | None:
    what, _, name = changed.key.partition(".")
    if what == "device":
        return DeviceProfile.decode(changed.value) if changed.value else ProfileGone(name)
    if what == "model" and changed.value:
        return Route.decode(changed.value)
    return None
