"""The times of a variant on a class: when they are complete, and how new ones join old ones."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from shared.contracts.v1.jobs import StepTime
from shared.contracts.v1.models import Latency, ModelManifest, Variant


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one variant on one class."""

    variant: str
    artifact: str  # its sha256: a variant of the same name may take the place of this one
    worker_class: str
    latencies: tuple[Latency, ...]
    steps: tuple[StepTime, ...]


def batched(manifest: ModelManifest) -> bool:
    """Whether the batch is open; else all calls are of one kind, called batch 1."""
    return any(-1 in port.shape for port in manifest.inputs)


def complete(
    manifest: ModelManifest, variant: Variant, worker_class: str, devices: Collection[str]
) -> bool:
    """Whether calls of one row, and of more where that can be, were timed on a device that the
    class still has."""
    found = {
        one.batch
        for one in variant.latencies
        if one.worker_class == worker_class and one.device in devices
    }
    return 1 in found and (len(found) > 1 or not batched(manifest))


def merged(variant: Variant, found: Sequence[Figures], *, missing_only: bool = False) -> Variant:
    """A variant with new figures. Of the same class and batch the new ones stand, or with
    `missing_only` the old ones; those of a device that the class no longer has go."""
    own = variant.name, variant.artifact.sha256
    mine = [one for one in found if (one.variant, one.artifact) == own]
    fresh = [each for one in mine for each in one.latencies]
    devices = {each.worker_class: each.device for each in fresh}
    valid = [old for old in variant.latencies if _still(old, devices)]
    first, second = (valid, fresh) if missing_only else (fresh, valid)
    known = {(each.worker_class, each.batch) for each in first}
    rest = [each for each in second if (each.worker_class, each.batch) not in known]
    steps = {**variant.steps, **{one.worker_class: one.steps for one in mine}}
    return variant.model_copy(update={"latencies": (*first, *rest), "steps": steps})


def _still(old: Latency, devices: Mapping[str, str]) -> bool:
    return devices.get(old.worker_class, old.device) == old.device
