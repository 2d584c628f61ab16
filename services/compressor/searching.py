"""The actions `analyze`, `recommend` and `search` of a compress job.

A search carries out every recommended recipe, measures all results side by side on the class that
will serve, and keeps the best of those that hold accuracy, objective and budget.
"""

from dataclasses import dataclass

import anyio.to_thread

from services.compressor import analysis, calibration, joining, outcome, training, verdict
from services.compressor.analysis import Advice
from services.compressor.measure import Measured, Subject
from services.compressor.pipeline import LayerChange
from services.compressor.stages import Kitchen
from shared.chassis.handler import Outcome
from shared.contracts.errors import InvalidNetwork, InvalidTensor, TrainingDiverged
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import ModelManifest, Verdict
from shared.contracts.v1.recipes import Budget, Recipe
from shared.network import artifact
from shared.network.graph import Network


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A recipe that was carried out, and how its network did."""

    advice: Advice
    recipe: Recipe  # with every decision named
    stored: BlobRef
    network: Network
    measured: Measured
    judged: Verdict
    layers: tuple[LayerChange, ...]


async def run(kitchen: Kitchen, manifest: ModelManifest) -> Outcome:
    """Analyze, recommend, or search; only a search changes anything.

    Raises:
        InvalidNetwork: nothing to compress.
        SuiteError: what the measuring failed with.
    """
    start, tensors = manifest.variants[0].artifact, kitchen.tensors
    figures = await analysis.analyze(kitchen, start)
    report: dict[str, object] = {"model": manifest.model, "analysis": analysis.told(figures)}
    report["worker_class"] = kitchen.bench.worker_class
    if kitchen.body.action == "analyze":
        return Outcome(report=report)
    calibrates = any(name in tensors for name in (calibration.ROWS, calibration.LEARNED))
    trains = all(name in tensors for name in training.LEARNED)
    try:
        advice = analysis.recommend(figures, trains=trains, calibrates=calibrates)
    except ValueError as error:
        raise InvalidNetwork(f"model {manifest.model!r}: {error}") from None
    report["recommended"] = [
        {"name": one.name, "reason": one.reason, "recipe": outcome.plain(one.recipe)}
        for one in advice
    ]
    if kitchen.body.action == "recommend":
        return Outcome(report=report)
    return await _search(kitchen, manifest, advice, report)


async def _search(
    kitchen: Kitchen, manifest: ModelManifest, advice: list[Advice], report: dict[str, object]
) -> Outcome:
    bench, body = kitchen.bench, kitchen.body
    baseline = manifest.variants[0]
    cooked, failed = await _cooked(kitchen, baseline.artifact, advice)
    await kitchen.progress(0.6, f"measuring {len(cooked)} candidates on {bench.worker_class}")
    subjects = [Subject(baseline.artifact, baseline.weight_bytes)]
    subjects += [Subject(stored, network.weight_bytes) for _, _, stored, network, _ in cooked]
    before, *measured = await bench.compare(subjects)
    tried = [
        Tried(one, recipe, stored, network, after, _judged(kitchen, before, after), layers)
        for (one, recipe, stored, network, layers), after in zip(cooked, measured, strict=True)
    ]
    chosen = best(tried, body.objective)
    if chosen is not None:
        named = body.model_copy(
            update={"recipe": chosen.recipe, "variant": body.variant or chosen.advice.name}
        )
        variant = outcome.variant(
            named, chosen.stored, chosen.network, chosen.measured, chosen.judged
        )
        manifest = await joining.join(bench.bus, body.model, variant, before.latency)
        report |= outcome.report(manifest, variant, chosen.judged, chosen.layers, chosen.recipe)
    else:
        report |= {"accepted": False, "reason": _refusal(tried)}
    front = pareto([_point(one.measured) for one in tried])
    report |= {
        "chosen": chosen.advice.name if chosen else None,
        "baseline": _told(before),
        "candidates": [
            _told(one.measured)
            | {
                "name": one.advice.name,
                "accepted": one.judged.accepted,
                "reason": one.judged.reason,
                "low": one.judged.accuracy_low,
                "high": one.judged.accuracy_high,
                "pareto": on_front,
                "artifact": one.stored.sha256,
                "recipe": outcome.plain(one.recipe),
            }
            for one, on_front in zip(tried, front, strict=True)
        ],
        "failed": failed,
    }
    return Outcome(report=report)


Cooked = tuple[Advice, Recipe, BlobRef, Network, tuple[LayerChange, ...]]


async def _cooked(
    kitchen: Kitchen, start: BlobRef, advice: list[Advice]
) -> tuple[list[Cooked], dict[str, str]]:
    """Every recipe that could be carried out, and why the others could not."""
    bus = kitchen.bench.bus
    first = await anyio.to_thread.run_sync(artifact.unpack, await bus.get_blob(start))
    done: list[Cooked] = []
    failed: dict[str, str] = {}
    for one in advice:
        kitchen.notes.clear()
        try:
            stored, recipe = await kitchen.cook(one.recipe, start)
        except (InvalidNetwork, InvalidTensor, TrainingDiverged) as error:
            failed[one.name] = str(error)
            continue
        network = await anyio.to_thread.run_sync(artifact.unpack, await bus.get_blob(stored))
        layers = outcome.changes(first, network, kitchen.notes)
        done.append((one, recipe, stored, network, layers))
    if not done:
        raise InvalidNetwork("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return done, failed


def _judged(kitchen: Kitchen, before: Measured, after: Measured) -> Verdict:
    body = kitchen.body
    terms = verdict.Terms(body.objective, body.max_accuracy_drop, kitchen.bench.worker_class)
    if body.budget is not None and body.budget.accuracy is not None:
        terms = verdict.Terms(body.objective, body.budget.accuracy, kitchen.bench.worker_class)
    judged = verdict.judge(before.quality, after.quality, terms)
    missed = over(body.budget, before, after)
    if not missed:
        return judged
    return judged.model_copy(
        update={"accepted": False, "reason": f"refused, {' and '.join(missed)}; {judged.reason}"}
    )


def over(budget: Budget | None, before: Measured, after: Measured) -> list[str]:
    """Each limit of a budget that is not kept to, in words."""
    missed: list[str] = []
    if budget is None:
        return missed
    if budget.size is not None:
        limit = budget.size if budget.size > 1 else budget.size * before.quality.bytes
        if after.quality.bytes > limit:
            missed.append(f"{after.quality.bytes} bytes, over the budget of {limit:.0f}")
    if budget.latency is not None and after.quality.seconds > budget.latency:
        took, limit = 1e3 * after.quality.seconds, 1e3 * budget.latency
        missed.append(f"{took:.3f} ms, over the budget of {limit:.3f} ms")
    return missed


def best(tried: list[Tried], objective: str) -> Tried | None:
    """The accepted candidate that does best by the objective; None when none is."""
    accepted = [one for one in tried if one.judged.accepted]

    def rank(one: Tried) -> float:
        quality = one.measured.quality
        product = quality.seconds * quality.bytes
        return {
            "latency": quality.seconds,
            "size": float(quality.bytes),
            "both": product,
            "accuracy": -float(quality.correct),
        }[objective]

    return min(accepted, key=rank, default=None)


Point = tuple[float, float, float]  # accuracy, seconds, bytes


def pareto(points: list[Point]) -> list[bool]:
    """Which points no other beats: none is as accurate, as fast and as small, and better in one."""

    def beats(one: Point, other: Point) -> bool:
        better = one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2]
        return better and one != other

    return [not any(beats(other, one) for other in points) for one in points]


def _point(measured: Measured) -> Point:
    quality = measured.quality
    return quality.correct / quality.rows, quality.seconds, float(quality.bytes)


def _told(measured: Measured) -> dict[str, object]:
    accuracy, seconds, size = _point(measured)
    return {
        "accuracy": accuracy,
        "seconds": seconds,
        "p99": measured.latency.p99,
        "bytes": int(size),
    }


def _refusal(tried: list[Tried]) -> str:
    """Why no candidate was kept: what the most accurate and the smallest did."""
    nearest = max(tried, key=lambda one: _point(one.measured)[0])
    return f"no candidate holds; the most accurate, {nearest.advice.name}: {nearest.judged.reason}"
