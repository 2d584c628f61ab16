"""Sub-jobs of a measurement: submitted like any client's, pinned to the class that is measured."""

import contextlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from shared.bus.port import Bus, Entry
from shared.chassis import jobs
from shared.contracts.errors import InvalidMessage
from shared.contracts.message import Message
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import InferBody, JobFinished, JobSubmitted, OperatorBody
from shared.contracts.v1.workers import WorkerCard
from shared.tensors.layouts import Tensor

TENANT = "profiler"
M = TypeVar("M", bound=Message)
TIMEOUT = 120.0  # [s] for one sub-job


@dataclass(frozen=True, slots=True)
class Workbench:
    """Runs measuring jobs over the bus."""

    bus: Bus
    priority: int = 4  # of the measuring jobs: that of the profile job that they are for

    def at(self, priority: int) -> "Workbench":
        """The same for another priority."""
        return replace(self, priority=priority)

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
            priority=self.priority,
            worker_class=worker_class,
            body=body,
        )
        record, _ = await jobs.submit_and_wait(self.bus, job, tensors, timeout=TIMEOUT)
        return record

    async def cards(self) -> list[WorkerCard]:
        """Live workers."""
        return decoded(WorkerCard, await self.bus.entries(Bucket.WORKERS))

    async def classes(self) -> dict[str, set[str]]:
        """Classes with a live worker that computes, and their devices."""
        return devices_of(await self.cards())


def computes(card: WorkerCard) -> bool:
    """Whether a worker runs operators and networks and takes new work."""
    return {"infer", "operator"} <= set(card.kinds) and not card.draining


def devices_of(cards: Iterable[WorkerCard]) -> dict[str, set[str]]:
    """The devices of every class that computes, classes in order."""
    found: dict[str, set[str]] = {}
    for card in sorted(cards, key=lambda card: card.worker_class):
        if computes(card):
            found.setdefault(card.worker_class, set()).add(card.device)
    return found


def decoded(kind: type[M], entries: Iterable[Entry]) -> list[M]:
    """The messages that a bucket holds; what does not parse is passed over, the scheduler tells."""
    found = []
    for entry in entries:
        with contextlib.suppress(InvalidMessage):
            found += [kind.decode(entry.value)] if entry.value is not None else []
    return found
