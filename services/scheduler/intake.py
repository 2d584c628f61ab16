"""From bytes on a subject to an event: parse once, believe the subject, weigh the work."""

import hashlib

from pydantic import ConfigDict

from services.scheduler import demand
from services.scheduler.demand import Demand
from services.scheduler.events import Frame, Unreadable
from shared.chassis import records
from shared.contracts import subjects
from shared.contracts.errors import InvalidMessage
from shared.contracts.message import Message
from shared.contracts.v1.jobs import JobSubmitted, Token
from shared.tensors import header
from shared.tensors.header import Header

UNKNOWN = "unknown"  # stands for a tenant, job or kind that cannot be said


class _Identity(Message):
    """The least that makes a broken submission answerable: its job id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = ""
    job: Token


def frame(data: bytes, digest: str = "") -> Frame:
    """The bytes with their digest, computed unless it is known."""
    return Frame(data, digest or hashlib.sha256(data).hexdigest())


def read(delivery: int, subject: str, given: Frame) -> tuple[JobSubmitted, Demand] | Unreadable:
    """Parse a submission; its subject says whose it is, whatever the body claims.

    Whatever goes wrong is an answer: who may publish must not be able to stop the reader. A subject
    with a token that no subject of ours could repeat is answered under the tenant ``unknown``.
    """
    try:
        tenant, kind = _addressed(subject)
    except ValueError as error:
        told = f"subject {subject[:200]!r}: {error}"
        return Unreadable(delivery, UNKNOWN, UNKNOWN, given, told, subject=subject)
    text: bytes = b""
    try:
        text, head = _message(given.data)
        job = JobSubmitted.decode(text)
        _agree(job, tenant, kind)
        return job, demand.of(job, head)
    except Exception as error:  # foreign bytes
        told = str(error) if isinstance(error, InvalidMessage) else records.describe(error)
        return Unreadable(delivery, tenant, kind, given, told, _id(text), subject)


def reread(data: bytes) -> tuple[JobSubmitted, Demand]:
    """Parse a frame that was accepted before.

    Raises:
        InvalidMessage: it does not parse.
    """
    try:
        text, head = _message(data)
        job = JobSubmitted.decode(text)
        return job, demand.of(job, head)
    except InvalidMessage:
        raise
    except Exception as error:  # foreign bytes, as above
        raise InvalidMessage(records.describe(error)) from error


def _addressed(subject: str) -> tuple[str, str]:
    """Tenant and kind of a submission's subject.

    Raises:
        ValueError: it does not have exactly these two, or one is no token.
    """
    tenant, kind = subject.split(".")[3:]
    return subjects.token(tenant), subjects.token(kind)


def _message(data: bytes) -> tuple[bytes, Header | None]:
    """The JSON of a frame, and its safetensors header if it has one; see contracts.frame."""
    if data[:1] == b"{":
        return data, None
    try:
        head = header.parse(data)
    except ValueError as error:
        raise InvalidMessage(f"not a frame: {error}") from None
    if "message" not in head.text:
        raise InvalidMessage("safetensors without the metadata key 'message'")
    return head.text["message"].encode(), head


def _agree(job: JobSubmitted, tenant: str, kind: str) -> None:
    if job.tenant != tenant or job.body.kind != kind:
        raise InvalidMessage(
            f"the body says tenant {job.tenant} and kind {job.body.kind}, the subject"
            f" {subjects.job(tenant, kind)}"
        )


def _id(text: bytes) -> str | None:
    try:
        return _Identity.decode(text).job
    except Exception:  # foreign bytes, as above
        return None
