"""Jobs of the kind `compress`: a smaller variant, measured where it will serve, kept if good."""

import anyio
import anyio.to_thread

from services.compressor import (
    benchmarking,
    joining,
    labelled,
    laying,
    manifests,
    measure,
    outcome,
    pipeline,
    searching,
    verdict,
)
from services.compressor.measure import Bench, Subject
from services.compressor.pipeline import Candidate
from services.compressor.stages import Kitchen
from shared.bus.port import Bus
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import InvalidMessage, InvalidNetwork
from shared.contracts.v1.jobs import BlobRef, CompressBody, JobSubmitted
from shared.contracts.v1.models import Variant
from shared.contracts.v1.recipes import Recipe
from shared.network import artifact
from shared.network.graph import Network
from shared.operators.spec import Tensors


async def run(
    bus: Bus, job: JobSubmitted, body: CompressBody, tensors: Tensors, progress: Progress
) -> Outcome:
    """Compress, measure, judge; an accepted variant joins the model, a refused one leaves nothing.

    Raises:
        UnknownModel, InvalidTensor, NonFiniteInput, InvalidMessage: about what was asked.
        InvalidNetwork: the model has no layer that this method could make smaller.
        NoWorker: nobody of the class that will serve is there to measure on.
    """
    if body.recipe is None and body.method is None and body.action in (None, "apply"):
        raise InvalidMessage("body: name a method, give a recipe, or ask for the action search")
    manifest = await manifests.read(bus, body.model)
    rows = labelled.read(manifest, _judged_on(body, tensors))
    baseline = manifest.variants[0]
    worker_class = await measure.serving_class(bus, body.model, baseline.name, body.worker_class)
    bench = Bench(bus, job, worker_class, rows, body.batch)
    kitchen = Kitchen(bench, body, tensors, progress)
    match body.action:
        case "benchmark":
            return await benchmarking.run(kitchen, manifest)
        case "analyze" | "recommend" | "search":
            return await searching.run(kitchen, manifest)
    made, stored, recipe = await _made(kitchen, baseline)
    try:
        await progress(0.5, f"measuring on {worker_class}")
        subjects = [Subject(baseline.artifact, baseline.weight_bytes)]
        if stored != baseline.artifact:
            subjects += [Subject(stored, made.network.weight_bytes)]
        before, *others = await bench.compare(subjects)
        after = others[0] if others else before
        terms = verdict.Terms(body.objective, body.max_accuracy_drop, worker_class)
        judged = verdict.judge(before.quality, after.quality, terms)
        await progress(0.9, judged.reason)
        variant = outcome.variant(body, stored, made.network, after, judged)
        if judged.accepted:
            manifest = await joining.join(bus, body.model, variant, before.latency)
        return Outcome(report=outcome.report(manifest, variant, judged, made.layers, recipe))
    finally:
        if recipe is None:  # what a recipe made is remembered, and expires by itself
            with anyio.CancelScope(shield=True):
                await manifests.discard(bus, stored)


def _judged_on(body: CompressBody, tensors: Tensors) -> Tensors:
    """The held-out rows; a method takes nothing else, recipes may."""
    if body.recipe is None and body.action is None:
        return tensors
    return {name: tensors[name] for name in tensors if name in labelled.OWN}


async def _made(kitchen: Kitchen, baseline: Variant) -> tuple[Candidate, BlobRef, Recipe | None]:
    """The smaller network, its artifact (which expires unless the verdict keeps it), its recipe."""
    body, bus = kitchen.body, kitchen.bench.bus
    if body.recipe is not None:
        stored, recipe = await kitchen.cook(body.recipe, baseline.artifact)
        first = await anyio.to_thread.run_sync(
            _unpacked, await bus.get_blob(baseline.artifact), body
        )
        network = await anyio.to_thread.run_sync(_unpacked, await bus.get_blob(stored), body)
        layers = outcome.changes(first, network, kitchen.notes)
        return Candidate(network, layers), stored, recipe
    await kitchen.progress(0.05, f"compressing with {body.method}")
    network = await anyio.to_thread.run_sync(_unpacked, await bus.get_blob(baseline.artifact), body)
    made = await _by_method(kitchen, network)
    if all(layer.operator == pipeline.DENSE for layer in made.layers):
        return made, baseline.artifact, None
    packed = await anyio.to_thread.run_sync(artifact.pack, made.network)
    return made, await bus.put_blob(packed), None


async def _by_method(kitchen: Kitchen, network: Network) -> Candidate:
    body = kitchen.body
    try:
        if body.method != "prune":
            return await anyio.to_thread.run_sync(_compressed, network, body)
        pruned = await anyio.to_thread.run_sync(pipeline.prune, network, body.sparsity)
        laid = await laying.lay_out(kitchen.bench, body, network, pruned, kitchen.progress)
        dense = {step: choice.reason for step, choice in laid.choices.items()}
        left = {step: why for step, why in dense.items() if step not in laid.weights}
        return pipeline.lay_out(network, laid.weights, {**pruned.left, **left}, laid.choices)
    except ValueError as error:
        raise InvalidNetwork(f"model {body.model!r}: {error}") from None


def _compressed(network: Network, body: CompressBody) -> Candidate:
    if body.method == "int8":
        return pipeline.int8(network)
    return pipeline.prune_csr(network, body.sparsity)


def _unpacked(data: bytes, body: CompressBody) -> Network:
    try:
        return artifact.unpack(data)
    except ValueError as error:
        raise InvalidNetwork(f"model {body.model!r}: {error}") from None
