"""Jobs of the kind `train`: the computing is a job of a class of workers, its result a variant."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from services.compressor import joining, labelled, manifests, measure
from services.compressor.measure import Bench, Measured, Subject
from shared.bus.port import Bus, Inbound
from shared.chassis import jobs
from shared.chassis.handler import Outcome, Progress
from shared.contracts import subjects
from shared.contracts.errors import InvalidMessage, SuiteError
from shared.contracts.v1.jobs import BlobRef, JobEvent, JobFinished, JobSubmitted, TrainBody
from shared.contracts.v1.models import ModelManifest, Variant
from shared.tensors.layouts import Tensor

LEARNED = ("train_x", "train_labels")
PATIENCE = 24 * 3600.0  # [s] of a run without a deadline
COMPUTES = "cpu"  # the class that trains unless another is named
EVENTS = 64  # of the computing job that may wait to be passed on; older ones stay


async def run(
    bus: Bus, job: JobSubmitted, body: TrainBody, tensors: Mapping[str, Tensor], progress: Progress
) -> Outcome:
    """Train a model's first variant, measure the result if rows are there, and add it.

    Raises:
        InvalidMessage: no model is named.
        UnknownModel, InvalidTensor, NonFiniteInput, TrainingDiverged, InvalidNetwork, NoWorker.
    """
    if body.model is None:
        raise InvalidMessage("body: name the model to train")
    if body.stdp is not None:
        raise InvalidMessage("body.stdp: it is for the method stdp; set `method`, or leave it out")
    manifest = await manifests.read(bus, body.model)
    first = manifest.variants[0]
    if body.variant == first.name:
        raise InvalidMessage(f"body.variant: {first.name!r} is what the model came with; stays")
    held = labelled.read(manifest, _held_out(tensors)) if "x" in tensors else None
    learned = {name: tensors[name] for name in LEARNED if name in tensors}
    record, _ = await compute(bus, job, body, first.artifact, learned, progress)
    made = trained(record)
    try:
        measured: list[Measured] = []
        if held is not None:
            await progress(0.95, "measuring")
            where = await measure.serving_class(bus, body.model, first.name, None)
            bench = Bench(bus, job, where, held, batch=1)
            subjects_ = [Subject(one, size) for one, size in _pair(first, made, record)]
            measured = await bench.compare(subjects_)
        variant = _variant(body, made, record, measured)
        manifest = await joining.join(bus, body.model, variant)
        return Outcome(report=_report(manifest, variant, record, measured))
    finally:
        with anyio.CancelScope(shield=True):
            await manifests.discard(bus, made)


async def compute(
    bus: Bus,
    job: JobSubmitted,
    body: TrainBody,
    start: BlobRef | None,
    tensors: Mapping[str, Tensor],
    progress: Progress,
) -> tuple[JobFinished, dict[str, Tensor]]:
    """Train an artifact on a class of workers, or one that is made there; the record's report names
    what came out.

    Raises:
        SuiteError: what the computing failed with.
    """
    asked = JobSubmitted(
        job=f"train-{uuid.uuid4().hex[:24]}",
        tenant=job.tenant,
        priority=job.priority,
        deadline=job.deadline,
        worker_class=body.worker_class or COMPUTES,
        body=body.model_copy(update={"model": None, "artifact": start and start.sha256}),
    )
    async with _passing_on(bus, asked, progress):
        return await jobs.submit_and_wait(bus, asked, tensors, timeout=PATIENCE)


def trained(record: JobFinished) -> BlobRef:
    """The artifact that came out of a computing job; it expires unless it is kept."""
    report = record.report
    return BlobRef.model_validate({"sha256": report["artifact"], "size": report["size"]})


@asynccontextmanager
async def _passing_on(bus: Bus, asked: JobSubmitted, progress: Progress) -> AsyncIterator[None]:
    """Progress of the computing job becomes that of the job it is done for."""
    sender, receiver = anyio.create_memory_object_stream[JobEvent](EVENTS)

    def hear(message: Inbound) -> None:
        try:
            sender.send_nowait(JobEvent.decode(message.data))
        except (anyio.WouldBlock, SuiteError):
            return  # an event may be lost

    async def tell() -> None:
        async for event in receiver:
            if event.done is not None:
                await progress(0.95 * event.done, event.reason)

    events = await bus.subscribe(subjects.event(asked.tenant, asked.job, "progress"), hear)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(tell)
            yield
            group.cancel_scope.cancel()
    finally:
        sender.close()
        receiver.close()
        with anyio.CancelScope(shield=True):
            await events.stop()


def _held_out(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in (labelled.ROWS, labelled.LABELS) if name in tensors}


def _pair(first: Variant, made: BlobRef, record: JobFinished) -> list[tuple[BlobRef, int]]:
    return [(first.artifact, first.weight_bytes), (made, _bytes(record))]


def _bytes(record: JobFinished) -> int:
    size = record.report["weight_bytes"]
    assert isinstance(size, int)  # the trainer's report
    return size


def _variant(
    body: TrainBody, made: BlobRef, record: JobFinished, measured: list[Measured]
) -> Variant:
    return Variant(
        name=body.variant,
        artifact=made,
        weight_bytes=_bytes(record),
        method=f"train {body.sparse.method}" if body.sparse else "train",
        latencies=tuple(one.latency for one in measured[1:]),
    )


def _report(
    manifest: ModelManifest, variant: Variant, record: JobFinished, measured: list[Measured]
) -> dict[str, object]:
    found: dict[str, object] = {
        "model": manifest.model,
        "variant": variant.name,
        "artifact": variant.artifact.sha256,
        "weight_bytes": variant.weight_bytes,
        "worker": record.worker,
        "worker_class": record.worker_class,
        "steps": record.report["steps"],
        "resumed_at": record.report["resumed_at"],
        "loss": record.report["loss"],
    }
    if "activity" in record.report:
        found["activity"] = record.report["activity"]
    if measured:
        before, after = (one.quality for one in measured)
        found["baseline_accuracy"] = before.correct / before.rows
        found["accuracy"] = after.correct / after.rows
        found["latencies"] = [measured[1].latency.model_dump(mode="json")]
    return found
