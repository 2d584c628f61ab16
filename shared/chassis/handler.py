"""What a worker service supplies to the worker loop: a handler of durable jobs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.contracts.v1.jobs import JobSubmitted, Timing
from shared.tensors.layouts import Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job produced; the loop turns it into the stored JobFinished."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    timing: Timing = field(default_factory=Timing)
    report: Mapping[str, object] = field(default_factory=dict)


Progress = Callable[[float, str], Awaitable[None]]  # share done 0..1, what is going on


class Handler(Protocol):
    """Runs one job. Raise a SuiteError with retryable False for the caller's mistakes (the job
    fails at once); any other exception is retried elsewhere up to the delivery limit."""

    kinds: tuple[str, ...]

    async def handle(
        self, job: JobSubmitted, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Execute; cancelled by the loop when the job is cancelled or expires."""
        ...
