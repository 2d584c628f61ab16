"""What the ModelStatistics call answers: counts and times per variant, since this gateway began."""

import time
from dataclasses import dataclass, field

from shared.contracts import packed
from shared.contracts.wire import inference

NANO = 1_000_000_000


@dataclass(slots=True)
class Duration:
    """How often, and how long in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.seconds += seconds

    def message(self) -> inference.StatisticDuration:
        """On the wire."""
        return inference.StatisticDuration(count=self.count, ns=int(self.seconds * NANO))


@dataclass(slots=True)
class VariantStatistics:
    """One variant. A product of b rows that r rows of a call share counts r / b for that call."""

    rows: int = 0
    products: float = 0.0
    last: float = 0.0  # [s since the epoch]
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    run: Duration = field(default_factory=Duration)

    def answered(self, answer: packed.Answer, rows: int, seconds: float) -> None:
        """Count one more call, of so many rows, that took so long."""
        self.success.add(seconds)
        self.queue.add(answer.queued)
        self.run.add(answer.run)
        self.rows += rows
        self.products += rows / max(answer.batch, rows)
        self.last = time.time()


class Statistics:
    """Statistics of every variant that was called."""

    def __init__(self) -> None:
        self._variants: dict[tuple[str, str], VariantStatistics] = {}

    def of(self, model: str, variant: str) -> VariantStatistics:
        """The counters of one variant."""
        counted = self._variants.get((model, variant))
        if counted is None:
            counted = self._variants[model, variant] = VariantStatistics()
        return counted

    def message(self, model: str, variant: str) -> inference.ModelStatistics:
        """On the wire."""
        counted = self.of(model, variant)
        return inference.ModelStatistics(
            name=model,
            version=variant,
            last_inference=int(counted.last * 1000),
            inference_count=counted.rows,
            execution_count=round(counted.products),
            inference_stats=inference.InferStatistics(
                success=counted.success.message(),
                fail=counted.fail.message(),
                queue=counted.queue.message(),
                compute_infer=counted.run.message(),
            ),
        )
