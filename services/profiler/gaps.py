"""What has not been measured yet: variants without figures on a class that lives."""

import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from services.profiler import figures
from services.profiler.workbench import TENANT, devices_of
from shared.contracts.v1.jobs import JobSubmitted, ProfileBody
from shared.contracts.v1.models import ModelManifest
from shared.contracts.v1.workers import WorkerCard

LAST = 9  # priority: every other measurement goes first


@dataclass(frozen=True, slots=True)
class Gap:
    """A variant of a model and a class on which it was never timed whole."""

    model: str
    created_at: float  # [s since the epoch] of the model: removed and imported again it is another
    variant: str
    artifact: str
    worker_class: str
    devices: tuple[str, ...]  # of the class, as its cards name them

    def job(self, number: int) -> JobSubmitted:
        """The job that closes it, the same bytes from every profiler, at the `number`-th try."""
        told = "\n".join(map(str, (*astuple(self), number)))
        name = hashlib.sha256(told.encode()).hexdigest()[:12]
        return JobSubmitted(
            job=f"figures-{self.worker_class[:40]}-{name}",
            tenant=TENANT,
            priority=LAST,
            body=ProfileBody(
                model=self.model,
                variant=self.variant,
                worker_class=self.worker_class,
                missing_only=True,
            ),
        )


def find(manifests: Iterable[ModelManifest], cards: Iterable[WorkerCard]) -> list[Gap]:
    """All gaps of the models that are served, in the order of models, variants and classes."""
    classes = devices_of(cards)
    return [
        Gap(
            model=manifest.model,
            created_at=manifest.created_at,
            variant=variant.name,
            artifact=variant.artifact.sha256,
            worker_class=name,
            devices=tuple(sorted(devices)),
        )
        for manifest in manifests
        if manifest.loaded
        for variant in manifest.variants
        for name, devices in sorted(classes.items())
        if not figures.complete(manifest, variant, name, devices)
    ]
