"""From bytes on a subject to an event: parse once, believe the subject, weigh the work."""

import hashlib

from pydantic import ConfigDict

from services.scheduler import demand
from services.scheduler.demand import Demand
from services.scheduler.events import Frame, Unreadable
from shared.contracts import subjects
from shared.contracts.errors import InvalidMessage
from shared.contracts.message import Message
from shared.contracts.v1.jobs import JobSubmitted, Token
from shared.tensors import header
from shared.tensors.header import Header


class _Identity(Message):
    """The least that makes a broken submission answerable: its job id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = ""
    job: Token


def frame(data: bytes, digest: str = "") -> Frame:
    """The bytes with their digest, computed unless it is known."""
    return Frame(data, digest or hashlib.sha256(data).hexdigest())


def read(delivery: int, subject: str, given: Frame) -> tuple[JobSubmitted, Demand] | Unreadable:
    """Parse a submission; its subject says whose it is, whatever the body claims."""
    tenant, kind = subject.split(".")[3:5]
    text: bytes = b""
    try:
        text, head = _message(given.data)
        job = JobSubmitted.decode(text)
        _agree(job, tenant, kind)
        return job, demand.of(job, head)
    except InvalidMessage as error:
        return Unreadable(delivery, tenant, kind, given, str(error), job=_id(text))


def reread(data: bytes) -> tuple[JobSubmitted, Demand]:
    """Parse a frame that was accepted before.

    Raises:
        InvalidMessage: it does not parse.
    """
    text, head = _message(data)
    job = JobSubmitted.decode(text)
    return job, demand.of(job, head)


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
    except InvalidMessage:
        return None
