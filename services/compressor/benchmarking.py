"""The action `benchmark` of a compress job: every variant of a model on every class that serves."""

from dataclasses import replace

from services.compressor import verdict
from services.compressor.measure import Measured, Subject
from services.compressor.stages import Kitchen
from shared.chassis.handler import Outcome
from shared.contracts.subjects import Bucket
from shared.contracts.v1.models import ModelManifest, Variant
from shared.contracts.v1.workers import WorkerCard


async def run(kitchen: Kitchen, manifest: ModelManifest) -> Outcome:
    """Accuracy with its interval, and time of a call, by class and variant; changes nothing.

    Raises:
        SuiteError: what the measuring failed with.
    """
    subjects = [Subject(one.artifact, one.weight_bytes) for one in manifest.variants]
    rows: list[dict[str, object]] = []
    names = await _classes(kitchen)
    for at, name in enumerate(names):
        await kitchen.progress(at / len(names), f"measuring on {name}")
        measured = await replace(kitchen.bench, worker_class=name).compare(subjects)
        rows += [
            _row(variant, one) for variant, one in zip(manifest.variants, measured, strict=True)
        ]
    return Outcome(report={"model": manifest.model, "benchmark": rows})


async def _classes(kitchen: Kitchen) -> list[str]:
    """The class that was asked for, or all that live and run networks."""
    if kitchen.body.worker_class:
        return [kitchen.body.worker_class]
    cards = [
        WorkerCard.decode(entry.value)
        for entry in await kitchen.bench.bus.entries(Bucket.WORKERS)
        if entry.value is not None
    ]
    return sorted({card.worker_class for card in cards if "infer" in card.kinds})


def _row(variant: Variant, measured: Measured) -> dict[str, object]:
    interval = verdict.wilson(measured.quality.correct, measured.quality.rows)
    return {
        "variant": variant.name,
        "worker_class": measured.latency.worker_class,
        "device": measured.latency.device,
        "accuracy": interval.share,
        "low": interval.low,
        "high": interval.high,
        "seconds": measured.latency.p50,
        "p99": measured.latency.p99,
        "samples": measured.latency.samples,
        "bytes": variant.weight_bytes,
    }
