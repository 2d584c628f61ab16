"""Accuracy and time of artifacts on the class that will serve them, through jobs like anyone's.

What is judged is what is served: the same workers, backends and kernels, not a simulation here.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from services.compressor.labelled import Labelled
from services.compressor.verdict import Quality
from shared.bus.port import Bus
from shared.chassis import jobs
from shared.contracts.errors import NoWorker
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef, InferBody, JobFinished, JobSubmitted, OperatorBody
from shared.contracts.v1.models import Latency, Route
from shared.contracts.v1.workers import WorkerCard
from shared.tensors.layouts import Tensor

CHUNK = 4096  # rows of one accuracy job; bounds its tensors
ROUNDS = 2  # how often baseline and candidate take turns, so that a drift of the machine hits both
FIRST_REPEATS = 20  # timed calls of the first round; they say how many the next can afford
ROUND_SECONDS = 0.5  # [s] of timed calls per round
REPEATS = range(20, 401)
JOB_SECONDS = 300.0  # [s] one job may take, waiting for its turn included


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact to be measured."""

    artifact: BlobRef
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """How an artifact did, and its latency as a manifest keeps it."""

    quality: Quality
    latency: Latency


@dataclass(frozen=True, slots=True)
class Bench:
    """Where to measure, on whose behalf, on which rows."""

    bus: Bus
    job: JobSubmitted  # the compress job: its tenant and priority hold for the jobs made here
    worker_class: str
    rows: Labelled
    batch: int  # rows of one timed call

    async def compare(self, subjects_: Sequence[Subject]) -> list[Measured]:
        """Measure artifacts side by side: accuracy over all rows, then timed calls in turns."""
        correct = [await self._correct(subject) for subject in subjects_]
        samples: list[list[float]] = [[] for _ in subjects_]
        device = ""
        for _ in range(ROUNDS):
            for taken, subject in zip(samples, subjects_, strict=True):
                finished = await self._timed(subject, repeats(taken))
                taken.extend(finished.timing.samples)
                device = finished.device
        return [
            self._measured(subject, hits, taken, device)
            for subject, hits, taken in zip(subjects_, correct, samples, strict=True)
        ]

    async def _correct(self, subject: Subject) -> int:
        body = InferBody(artifact=subject.artifact.sha256)
        scores = []
        for chunk in self.rows.chunks(CHUNK):
            _, outputs = await self.run(body, chunk)
            scores.append(outputs[self.rows.output].values)
        return self.rows.correct(np.concatenate(scores))

    async def _timed(self, subject: Subject, repeat: int) -> JobFinished:
        body = InferBody(artifact=subject.artifact.sha256, repeat=repeat)
        return (await self.run(body, self.rows.batch(self.batch)))[0]

    async def run(
        self, body: InferBody | OperatorBody, tensors: Mapping[str, Tensor]
    ) -> tuple[JobFinished, dict[str, Tensor]]:
        """One job on the class; its record and its outputs. It is withdrawn when this is cancelled.

        Raises:
            SuiteError: what the job failed with.
        """
        job = JobSubmitted(
            job=f"compress-{uuid.uuid4().hex[:24]}",
            tenant=self.job.tenant,
            priority=self.job.priority,
            deadline=self.job.deadline,
            worker_class=self.worker_class,
            body=body,
        )
        return await jobs.submit_and_wait(self.bus, job, tensors, timeout=JOB_SECONDS)

    def _measured(
        self, subject: Subject, correct: int, samples: list[float], device: str
    ) -> Measured:
        middle = median(samples)
        latency = Latency(
            worker_class=self.worker_class,
            device=device,
            batch=self.batch,
            p50=middle,
            p99=float(np.percentile(samples, 99)),
            samples=len(samples),
        )
        rows = len(self.rows.labels)
        return Measured(Quality(correct, rows, middle, subject.weight_bytes), latency)


async def serving_class(bus: Bus, model: str, variant: str, wanted: str | None) -> str:
    """The class to measure on: the wanted one, else the route's first, else any that runs infer.

    Raises:
        NoWorker: no live worker of that class.
    """
    live = [
        card.worker_class
        for entry in await bus.entries(Bucket.WORKERS)
        if entry.value is not None and "infer" in (card := WorkerCard.decode(entry.value)).kinds
    ]
    chosen = wanted or await _routed(bus, model, variant, live) or min(live, default=None)
    if chosen is None or chosen not in live:
        running = ", ".join(sorted(set(live))) or "none"
        raise NoWorker(f"no live worker of class {chosen or 'cpu'}; running: {running}")
    return chosen


async def _routed(bus: Bus, model: str, variant: str, live: Sequence[str]) -> str | None:
    """The first live class of the route that the scheduler published for a variant."""
    entry = await bus.get(Bucket.ROUTES, f"model.{model}")
    if entry is None or entry.value is None:
        return None
    choices = Route.decode(entry.value).choices.get(variant, ())
    return next((one.worker_class for one in choices if one.worker_class in live), None)


def repeats(taken: Sequence[float], seconds: float = ROUND_SECONDS) -> int:
    """Timed calls for a round of so many seconds, after what the last one took."""
    if not taken:
        return FIRST_REPEATS
    affordable = int(seconds / max(median(taken), 1e-9))
    return min(max(affordable, REPEATS.start), REPEATS.stop - 1)
