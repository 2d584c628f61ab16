"""Jobs of the kind `train` without labels: neurons compete on a class of workers, and become a
variant of a model, or a model of their own.
"""

import time
from collections.abc import Mapping

import anyio
import anyio.to_thread

from services.compressor import importing, joining, manifests, training, verdict
from shared.bus.port import Bus
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import InvalidMessage, ModelExists, UnknownModel
from shared.contracts.v1.jobs import BlobRef, JobFinished, JobSubmitted, TrainBody
from shared.contracts.v1.models import ModelManifest, Variant
from shared.contracts.v1.training import Training
from shared.network import artifact
from shared.tensors.layouts import Tensor

READ = ("epochs", "seed")  # of `Training`
TENSORS = ("train_x", "train_labels", "x", "labels")
METHOD = "train stdp"


async def run(
    bus: Bus, job: JobSubmitted, body: TrainBody, tensors: Mapping[str, Tensor], progress: Progress
) -> Outcome:
    """Train neurons of a model's first variant, or new ones, and keep them under the model's name.

    Raises:
        InvalidMessage: no model is named, or something is asked for that gradients do.
        ModelExists: a model that the job should make is there already.
        InvalidTensor, InvalidNetwork, NoWorker: what the computing failed with.
    """
    _require(body)
    first = await _first(bus, job, body)
    given = {name: tensors[name] for name in TENSORS if name in tensors}
    start = first.artifact if first else None
    record, outputs = await training.compute(bus, job, body, start, given, progress)
    made = training.trained(record)
    try:
        variant = _variant(job, body, made, record)
        if first is None:
            await _create(bus, body, variant)
        else:
            await joining.join(bus, str(body.model), variant)
        return Outcome(outputs, report=_report(body, variant, record))
    finally:
        with anyio.CancelScope(shield=True):
            await manifests.discard(bus, made)


def _require(body: TrainBody) -> None:
    """Nothing is asked for that would be passed over in silence."""
    if body.model is None:
        raise InvalidMessage("body: name the model to train, or to make")
    for name, field in Training.model_fields.items():
        if name not in READ and (value := getattr(body, name)) != field.default:
            raise InvalidMessage(
                f"body.{name}: {value!s:.80} is for the method gradient; leave it out for stdp"
            )


async def _first(bus: Bus, job: JobSubmitted, body: TrainBody) -> Variant | None:
    """The variant that learns further; None: the job makes a model, or made it in an attempt whose
    record was lost, and makes the same again."""
    try:
        manifest = await manifests.read(bus, str(body.model))
    except UnknownModel:
        return None
    first = manifest.variants[0]
    if body.variant != first.name:
        return first
    if first.job == job.job:
        return None
    raise ModelExists(
        f"model {body.model!r} began with {first.name!r}, which stays; name another variant to "
        "train it further, or another model"
    )


async def _create(bus: Bus, body: TrainBody, variant: Variant) -> ModelManifest:
    data = await bus.get_blob(variant.artifact)
    await bus.put_blob(data, keep=True)
    network = await anyio.to_thread.run_sync(artifact.unpack, data)
    inputs, outputs = importing.signature(network)
    manifest = ModelManifest(
        model=str(body.model),
        inputs=inputs,
        outputs=outputs,
        variants=(variant,),
        default=variant.name,
        created_at=time.time(),
    )
    return await manifests.create(bus, manifest)


def _variant(job: JobSubmitted, body: TrainBody, made: BlobRef, record: JobFinished) -> Variant:
    size = record.report["weight_bytes"]
    assert isinstance(size, int)  # the worker's report
    return Variant(name=body.variant, artifact=made, weight_bytes=size, method=METHOD, job=job.job)


def _report(body: TrainBody, variant: Variant, record: JobFinished) -> dict[str, object]:
    """What the worker found, and how sure the accuracy is."""
    found: dict[str, object] = {
        "model": body.model,
        "variant": variant.name,
        "worker": record.worker,
        "worker_class": record.worker_class,
        **{name: value for name, value in record.report.items() if name != "size"},
    }
    correct, rows = (record.report.get(name) for name in ("correct", "held_rows"))
    if isinstance(correct, int) and isinstance(rows, int):
        interval = verdict.wilson(correct, rows)
        found["accuracy"] = interval.share
        found["accuracy_low"], found["accuracy_high"] = interval.low, interval.high
    return found
