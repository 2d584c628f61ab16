"""The durable half of the client: submit, watch, result, cancel, blobs."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from shared.client.channel import Channel
from shared.contracts import errors, frame, subjects, wire
from shared.contracts.errors import InvalidName, InvalidTensor, SuiteError
from shared.contracts.v1.jobs import (
    BlobRef,
    Body,
    JobEvent,
    JobFinished,
    JobSubmitted,
    Status,
    TensorRef,
)
from shared.contracts.wire import jobs as messages
from shared.tensors import container
from shared.tensors.layouts import Tensor

INLINE_BYTES = 256 * 2**10  # of all tensors in one frame
CHUNK = 2**20  # [bytes] of one upload message
LONG = 3600.0  # [s] for a result when no timeout is given
R = TypeVar("R", bound=Message)
_CATALOGUE = errors.catalogue()


@dataclass(frozen=True, slots=True)
class Receipt:
    """A job is stored. `duplicate`: the same bytes were accepted under this id before."""

    job: str
    tenant: str
    sequence: int
    digest: str
    duplicate: bool


class Jobs:
    """Calls of the service ellesmere.v1.Jobs; see Client."""

    def __init__(self, channel: Channel, *, tenant: str, timeout: float) -> None:
        self._channel, self.tenant, self._timeout = channel, tenant, timeout

    async def submit(
        self,
        body: Body,
        tensors: Mapping[str, Tensor] | None = None,
        *,
        job_id: str | None = None,
        priority: int = 4,
        deadline: float | None = None,
        worker_class: str | None = None,
    ) -> Receipt:
        """Have a job accepted; large tensors are uploaded first.

        Args:
            job_id: repeat it with the same job to be sure of one acceptance; None: a fresh one.
            priority: 0 is served first, 9 last.
            deadline: [s since the epoch].
            worker_class: pin the job to a class.

        Raises:
            InvalidName: tenant, id or class cannot be a name.
            SuiteError: what the gateway refuses it for.
        """
        _require_names({"tenant": self.tenant, "job id": job_id, "class": worker_class})
        inline, refs = await self._offload(tensors or {})
        job = JobSubmitted(
            job=job_id or uuid.uuid4().hex,
            tenant=self.tenant,
            priority=priority,
            deadline=deadline,
            worker_class=worker_class,
            tensors=refs,
            body=body,
        )
        return await self.submit_frame(frame.encode(job, inline))

    async def submit_frame(self, content: bytes) -> Receipt:
        """Have a frame accepted as it is."""
        request = messages.SubmitRequest(frame=content)
        found = await self._jobs("Submit", request, messages.SubmitResponse)
        return Receipt(found.job, found.tenant, found.sequence, found.digest, found.duplicate)

    async def watch(
        self, job: str, *, timeout: float | None = None
    ) -> AsyncIterator[JobEvent | JobFinished]:
        """What is known of a job, then what happens; the last item is its record."""
        request = messages.WatchRequest(tenant=self.tenant, job=job)
        answers = self._channel.down(
            wire.JOBS, "Watch", request, messages.WatchResponse, timeout=timeout
        )
        async for answer in answers:
            if answer.WhichOneof("state") == "finished_json":
                yield JobFinished.decode(answer.finished_json.encode())
            else:
                yield JobEvent.decode(answer.event_json.encode())

    async def result(
        self, job: str, *, timeout: float | None = None
    ) -> tuple[JobFinished, dict[str, Tensor]]:
        """The record of a job with its tensors, those stored as blobs too; waits for it.

        A failed or cancelled job is a record like any other; `raise_for` makes it an error.
        """
        request = messages.ResultRequest(tenant=self.tenant, job=job)
        seconds = LONG if timeout is None else timeout
        found = await self._channel.unary(
            wire.JOBS, "Result", request, messages.ResultResponse, timeout=seconds
        )
        record, tensors = frame.decode(found.frame, JobFinished)
        for name, ref in record.tensors.items():
            tensors[name] = _only(name, await self.download(ref.blob))
        return record, tensors

    async def cancel(self, job: str) -> JobFinished:
        """Cancel a job; returns the record that stands, which may be that of its success."""
        request = messages.CancelRequest(tenant=self.tenant, job=job)
        found = await self._jobs("Cancel", request, messages.CancelResponse)
        return JobFinished.decode(found.finished_json.encode())

    async def upload(self, content: bytes, *, keep: bool = False) -> BlobRef:
        """Store bytes for 24 h, or until they are deleted."""

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, max(len(content), 1), CHUNK):
                piece = content[start : start + CHUNK]
                yield messages.UploadRequest(chunk=piece, keep=keep).SerializeToString()

        seconds = max(self._timeout, LONG)
        found = await self._channel.up(
            wire.JOBS, "Upload", chunks(), messages.UploadResponse, timeout=seconds
        )
        return BlobRef(sha256=found.blob.sha256, size=found.blob.size)

    async def download(self, ref: BlobRef) -> bytes:
        """Read stored bytes."""
        request = messages.DownloadRequest(blob=messages.Blob(sha256=ref.sha256, size=ref.size))
        answers = self._channel.down(
            wire.JOBS, "Download", request, messages.DownloadResponse, timeout=LONG
        )
        return b"".join([answer.chunk async for answer in answers])

    async def _offload(
        self, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, TensorRef]]:
        """Upload what does not fit inline, the largest first to go."""
        inline: dict[str, Tensor] = {}
        refs: dict[str, TensorRef] = {}
        room = INLINE_BYTES
        for name, tensor in sorted(tensors.items(), key=lambda named: named[1].nbytes):
            if tensor.nbytes <= room:
                inline[name] = tensor
                room -= tensor.nbytes
                continue
            blob = await self.upload(container.pack({name: tensor}, {}))
            refs[name] = TensorRef(
                blob=blob, layout=tensor.layout, dtype=tensor.dtype, shape=tensor.shape
            )
        return inline, refs

    async def _jobs(self, name: str, request: Message, kind: type[R]) -> R:
        return await self._channel.unary(wire.JOBS, name, request, kind, timeout=self._timeout)

    async def _inference(self, name: str, request: Message, kind: type[R]) -> R:
        return await self._channel.unary(wire.INFERENCE, name, request, kind, timeout=self._timeout)


def raise_for(record: JobFinished) -> None:
    """Raise what a job ended in, unless it succeeded.

    Raises:
        SuiteError: the class of the failure's code.
    """
    if record.status is Status.SUCCEEDED:
        return
    if record.failure is None:
        raise SuiteError(f"job {record.job!r} ended as {record.status}")
    raise _CATALOGUE.get(record.failure.code, SuiteError)(record.failure.message)


def _require_names(names: Mapping[str, str | None]) -> None:
    """Refuse what no subject can carry; None is no name."""
    for what, name in names.items():
        try:
            subjects.token(name or "none")
        except ValueError as error:
            raise InvalidName(f"{what} {error}") from None


def _only(name: str, content: bytes) -> Tensor:
    """The tensor of a blob that holds one."""
    try:
        (tensor,) = container.unpack(content).values()
    except ValueError as error:
        raise InvalidTensor(f"blob of tensor {name!r}: {error}") from None
    return tensor
