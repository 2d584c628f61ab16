"""Jobs of the kind `compress`: a smaller variant, measured where it will serve, kept if good."""

from collections.abc import Callable

import anyio
import anyio.to_thread
from pydantic import BaseModel

from services.compressor import labelled, laying, manifests, measure, pipeline, verdict
from services.compressor.measure import Bench, Measured, Subject
from services.compressor.pipeline import Candidate, LayerChange
from shared.bus.port import Bus
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import InvalidNetwork
from shared.contracts.v1.jobs import BlobRef, CompressBody, JobSubmitted
from shared.contracts.v1.models import Latency, ModelManifest, Variant, Verdict
from shared.network import artifact
from shared.network.graph import Network
from shared.operators.spec import Tensors


async def run(
    bus: Bus, job: JobSubmitted, body: CompressBody, tensors: Tensors, progress: Progress
) -> Outcome:
    """Compress, measure, judge; an accepted variant joins the model, a refused one leaves nothing.

    Raises:
        UnknownModel, InvalidTensor, NonFiniteInput: about what was asked.
        InvalidNetwork: the model has no layer that this method could make smaller.
        NoWorker: nobody of the class that will serve is there to measure on.
    """
    manifest = await manifests.read(bus, body.model)
    rows = labelled.read(manifest, tensors)
    baseline = manifest.variants[0]
    worker_class = await measure.serving_class(bus, body.model, baseline.name, body.worker_class)
    await progress(0.05, f"compressing with {body.method}")
    bench = Bench(bus, job, worker_class, rows, body.batch)
    network = await anyio.to_thread.run_sync(_unpacked, await bus.get_blob(baseline.artifact), body)
    made = await _made(bench, body, network, progress)
    await progress(0.2, f"measuring on {worker_class}")
    changed = any(layer.operator != pipeline.DENSE for layer in made.layers)
    packed = await anyio.to_thread.run_sync(artifact.pack, made.network) if changed else b""
    # It expires unless the verdict keeps it.
    stored = await bus.put_blob(packed) if changed else baseline.artifact
    try:
        subjects = [Subject(baseline.artifact, baseline.weight_bytes)]
        subjects += [Subject(stored, made.network.weight_bytes)] if changed else []
        before, *others = await bench.compare(subjects)
        after = others[0] if others else before
        terms = verdict.Terms(body.objective, body.max_accuracy_drop, worker_class)
        judged = verdict.judge(before.quality, after.quality, terms)
        await progress(0.9, judged.reason)
        variant = _variant(body, stored, made.network, after, judged)
        if judged.accepted:
            await bus.put_blob(packed, keep=True)
            manifest = await manifests.change(bus, body.model, _joined(variant, before.latency))
        return Outcome(report=_report(manifest, variant, judged, made.layers))
    finally:
        with anyio.CancelScope(shield=True):
            await manifests.discard(bus, stored)


def variant_name(body: CompressBody) -> str:
    """What `model_version` will name: int8, csr90, csr97.5, pruned90, pruned90-f16."""
    match body.method:
        case "int8":
            return "int8"
        case "prune_csr":
            return f"csr{100 * body.sparsity:.4g}"
    values = f"-{body.values}" if body.values not in (None, "f32") else ""
    return f"pruned{100 * body.sparsity:.4g}{values}"


def _unpacked(data: bytes, body: CompressBody) -> Network:
    try:
        return artifact.unpack(data)
    except ValueError as error:
        raise InvalidNetwork(f"model {body.model!r}: {error}") from None


async def _made(
    bench: Bench, body: CompressBody, network: Network, progress: Progress
) -> Candidate:
    """The smaller network."""
    try:
        if body.method != "prune":
            return await anyio.to_thread.run_sync(_compressed, network, body)
        pruned = await anyio.to_thread.run_sync(pipeline.prune, network, body.sparsity)
        laid = await laying.lay_out(bench, body, network, pruned, progress)
        dense = {step: choice.reason for step, choice in laid.choices.items()}
        left = {step: why for step, why in dense.items() if step not in laid.weights}
        return pipeline.lay_out(network, laid.weights, {**pruned.left, **left}, laid.choices)
    except ValueError as error:
        raise InvalidNetwork(f"model {body.model!r}: {error}") from None


def _compressed(network: Network, body: CompressBody) -> Candidate:
    if body.method == "int8":
        return pipeline.int8(network)
    return pipeline.prune_csr(network, body.sparsity)


def _variant(
    body: CompressBody, stored: BlobRef, network: Network, after: Measured, judged: Verdict
) -> Variant:
    return Variant(
        name=variant_name(body),
        artifact=stored,
        weight_bytes=network.weight_bytes,
        method=body.method,
        latencies=(after.latency,),
        verdict=judged,
    )


def _joined(variant: Variant, before: Latency) -> Callable[[ModelManifest], ModelManifest]:
    """What an accepted variant does to a manifest, whatever else happened to that meanwhile."""

    def update(manifest: ModelManifest) -> ModelManifest:
        baseline = manifest.variants[0]
        kept = [_timed(baseline, before)]
        kept += [held for held in manifest.variants[1:] if held.name != variant.name]
        default = variant.name if _better(manifest, variant) else manifest.default
        return manifest.model_copy(update={"variants": (*kept, variant), "default": default})

    return update


def _better(manifest: ModelManifest, variant: Variant) -> bool:
    """Whether a variant should serve by default: asked to be fast, and faster than what does."""
    if variant.verdict is None or variant.verdict.objective == "size":
        return False
    (mine,) = variant.latencies
    current = manifest.variant("")
    if current is None or current.name in (variant.name, manifest.variants[0].name):
        return True
    rivals = [held.p50 for held in current.latencies if _same_call(held, mine)]
    return not rivals or mine.p50 < min(rivals)


def _timed(variant: Variant, latency: Latency) -> Variant:
    others = tuple(held for held in variant.latencies if not _same_call(held, latency))
    return variant.model_copy(update={"latencies": (*others, latency)})


def _same_call(one: Latency, other: Latency) -> bool:
    return (one.worker_class, one.batch) == (other.worker_class, other.batch)


def _report(
    manifest: ModelManifest, variant: Variant, judged: Verdict, layers: tuple[LayerChange, ...]
) -> dict[str, object]:
    return {
        "model": manifest.model,
        "variant": variant.name,
        "accepted": judged.accepted,
        "default": manifest.default,
        "artifact": variant.artifact.sha256 if judged.accepted else None,
        "verdict": _plain(judged),
        "latencies": [_plain(latency) for latency in variant.latencies],
        "layers": [
            {
                "step": layer.step,
                "operator": layer.operator,
                "bytes_before": layer.bytes_before,
                "bytes_after": layer.bytes_after,
                "sparsity": layer.sparsity,
                "reason": layer.reason,
                "times": dict(layer.times),
            }
            for layer in layers
        ],
    }


def _plain(value: BaseModel) -> dict[str, object]:
    return value.model_dump(mode="json")
