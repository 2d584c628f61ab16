"""Sub-jobs of a measurement: submitted like any client's, pinned to the class that is measured."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from shared.bus.port import Bus
from shared.chassis import jobs
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import InferBody, JobFinished, JobSubmitted, OperatorBody
from shared.contracts.v1.workers import WorkerCard
from shared.tensors.layouts import Tensor

TENANT = "profiler"
PRIORITY = 2  # before ordinary work: a measurement is short, and placements rest on it
TIMEOUT = 120.0  # [s] for one sub-job


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs measuring jobs over the bus."""

    bus: Bus

    async def run(
        self,
        worker_class: str,
        body: OperatorBody | InferBody,
        tensors: Mapping[str, Tensor],
    ) -> JobFinished:
        """One measuring job on a class; its outputs are of no interest.

        Raises:
            SuiteError: what the job failed with.
        """
        job = JobSubmitted(
            job=f"measure-{uuid.uuid4().hex}",
            tenant=TENANT,
            priority=PRIORITY,
            worker_class=worker_class,
            body=body,
        )
        record, _ = await jobs.submit_and_wait(self.bus, job, tensors, timeout=TIMEOUT)
        return record

    async def cards(self) -> list[WorkerCard]:
        """Live workers that compute."""
        entries = await self.bus.entries(Bucket.WORKERS)
        cards = [WorkerCard.decode(entry.value) for entry in entries if entry.value]
        return [card for card in cards if computes(card)]

    async def classes(self) -> list[str]:
        """Classes with a live worker that computes."""
        return sorted({card.worker_class for card in await self.cards()})


def computes(card: WorkerCard) -> bool:
    """Whether a worker runs operators and networks and takes new work."""
    return {"infer", "operator"} <= set(card.kinds) and not card.draining
