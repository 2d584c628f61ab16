"""Pure parts of a job's end: what an error means, and the record and dead letter that say so."""

from enum import Enum, auto

import structlog

from shared.bus.port import Delivery, Headers
from shared.chassis.handler import Outcome
from shared.contracts.errors import DeviceFailed, InvalidTensor, JobFailed, SuiteError
from shared.contracts.v1.jobs import Failure, JobFinished, JobSubmitted, Status, Timing
from shared.contracts.v1.workers import WorkerCard

ATTEMPT, DIGEST, JOB = "El-Attempt", "El-Digest", "El-Job"
TEXT_BYTES = 500  # of an error's text in a header
log = structlog.get_logger()


class Next(Enum):
    """What to do about an error."""

    FAIL = auto()  # the caller's mistake: the job ends now
    RETRY = auto()  # somebody else, or later, may succeed
    BURY = auto()  # nobody did: the job ends and its frame is kept as a dead letter


def decide(error: Exception, *, attempt: int, limit: int) -> Next:
    """Choose by the error's own word whether another attempt may help."""
    if isinstance(error, SuiteError) and not error.retryable:
        return Next.FAIL
    return Next.BURY if attempt >= limit else Next.RETRY


def leaf(error: Exception) -> Exception:
    """The first exception inside nested groups: what a task group was ended by."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def attempt_of(delivery: Delivery) -> int:
    """How often this job was tried, counting placements and deliveries, this time included."""
    header = delivery.headers.get(ATTEMPT, "1")
    return max(int(header) if header.isdecimal() else 1, delivery.attempts)


def failure(error: SuiteError) -> Failure:
    """An error as a value."""
    return Failure(
        code=error.code,
        kind=error.kind,
        message=str(error),
        fix=error.fix,
        retryable=error.retryable,
    )


def exhausted(error: Exception, attempts: int) -> JobFailed:
    """The error of a job that failed on every attempt, with its last cause."""
    return JobFailed(f"failed on all {attempts} attempts; the last: {describe(error)}")


def as_error(error: Exception) -> SuiteError:
    """What a run on a backend raised, as an error of the catalogue."""
    match error:
        case SuiteError():
            return error
        case ValueError():
            return InvalidTensor(str(error))
        case _:
            log.error("run.failed", reason=describe(error))
            return DeviceFailed(describe(error))


def describe(error: Exception) -> str:
    """One line: catalogue code or exception type, and its text."""
    name = error.code if isinstance(error, SuiteError) else type(error).__name__
    return f"{name}: {error}"


def succeeded(finished: JobFinished, outcome: Outcome, *, fetch: float) -> JobFinished:
    """Complete a record with what the handler produced; `fetch` [s] was spent on blobs."""
    timing = outcome.timing.model_copy(
        update={"fetch": fetch, "started_at": finished.timing.started_at}
    )
    return finished.model_copy(update={"timing": timing, "report": dict(outcome.report)})


def ended(finished: JobFinished, status: Status, error: SuiteError) -> JobFinished:
    """Complete a record of a job without outcome."""
    return finished.model_copy(update={"status": status, "failure": failure(error)})


def draft(
    job: JobSubmitted, card: WorkerCard, *, attempt: int, digest: str, now: float
) -> JobFinished:
    """The record of one attempt, with everything known before it runs; `now` [s since epoch]."""
    return JobFinished(
        job=job.job,
        tenant=job.tenant,
        kind=job.body.kind,
        status=Status.SUCCEEDED,
        digest=digest,
        attempt=attempt,
        worker=card.worker,
        worker_class=card.worker_class,
        device=card.device,
        driver=card.driver,
        timing=Timing(started_at=now),
    )


def dead_headers(delivery: Delivery, error: Exception, *, worker: str) -> Headers:
    """Headers of a dead letter: those of the job, and why and where it died."""
    code = error.code if isinstance(error, SuiteError) else JobFailed.code
    kept = {key: text for key, text in delivery.headers.items() if key.startswith("El-")}
    return kept | {
        "El-Code": code,
        "El-Error": _header_text(describe(error)),
        "El-Attempts": str(attempt_of(delivery)),
        "El-Worker": worker,
        "El-Subject": delivery.subject,
        "El-Sequence": str(delivery.sequence),
    }


def _header_text(text: str) -> str:
    """Text that fits a header: printable ASCII on one line."""
    flat = " ".join(text.split()).encode("ascii", "backslashreplace")
    return flat[:TEXT_BYTES].decode()
