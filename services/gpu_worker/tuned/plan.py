"""What a run of the tuner measures, in which order, for how long, and what it leaves: pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.gpu_worker.tuned import problems as known_problems
from services.gpu_worker.tuned.entry import Entry
from services.gpu_worker.tuned.problems import Problem
from services.gpu_worker.tuned.search import Found
from services.gpu_worker.tuned.space import Value
from shared.contracts.errors import InvalidUsage
from shared.operators import catalog, validate


def problems(operators: Sequence[str]) -> tuple[Problem, ...]:
    """What to measure: the most telling problem of every operator first, then the second ones.

    Args:
        operators: names; none: every operator with something to tune.

    Raises:
        InvalidUsage: one is unknown or has nothing to tune.
    """
    tunable = [spec.name for spec in catalog.CATALOG if known_problems.of(spec.name)]
    for name in operators:
        if name not in tunable:
            raise InvalidUsage(
                f"nothing to tune for {name!r:.80}; {validate.nearest(name, tunable)}"
            )
    chosen = [name for name in tunable if not operators or name in operators]
    ranked = [
        (rank, place, problem)
        for place, name in enumerate(chosen)
        for rank, problem in enumerate(known_problems.of(name))
    ]
    return tuple(problem for _, _, problem in sorted(ranked, key=lambda each: each[:2]))


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: its problems in order, what is stored already, and when it ends."""

    wanted: tuple[Problem, ...]
    known: tuple[Entry, ...]
    end: float  # [s] on the clock of `share`

    def share(self, problem: Problem, now: float) -> float | None:
        """Seconds for a problem: an equal part of what is left; None when nothing is left."""
        left = self.end - now
        waiting = len(self.wanted) - self.wanted.index(problem)
        return left / waiting if left > 0 else None

    def place(self, problem: Problem) -> str:
        """Such as 3/40."""
        return f"{self.wanted.index(problem) + 1}/{len(self.wanted)}"

    def values(self, problem: Problem) -> dict[str, Value] | None:
        """What is stored for a problem's shape class."""
        same = (entry for entry in self.known if _class(entry) == _class(problem))
        return next((entry.values for entry in same), None)


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of one problem."""

    problem: Problem
    found: Found | None = None
    skipped: str | None = None  # why nothing was found out

    def entry(self) -> Entry | None:
        """What to store; None where the start values stand."""
        found = self.found
        if found is None or not found.values:
            return None
        return Entry(
            operator=self.problem.operator,
            shape=self.problem.shape,
            problem=self.problem.name,
            values=found.values,
            seconds=found.seconds,
            start_seconds=found.start_seconds,
            samples=found.samples,
        )

    def told(self) -> dict[str, object]:
        """As a JSON object."""
        named: dict[str, object] = {
            "operator": self.problem.operator,
            "problem": self.problem.name,
            "shape": self.problem.shape,
        }
        if self.found is None:
            return named | {"skipped": self.skipped}
        found = self.found
        return named | {
            "values": found.values,
            "seconds": found.seconds,
            "start_seconds": found.start_seconds,
            "gain": found.gain,
            "samples": found.samples,
            "complete": found.complete,
            "tried": [
                {"values": each.values, "seconds": each.seconds, "refused": each.refused}
                for each in found.tried
            ],
        }


def merged(known: Iterable[Entry], rows: Iterable[Measured]) -> tuple[Entry, ...]:
    """What to store: a class that was measured has its new outcome, also when that is none."""
    measured = [row for row in rows if row.found is not None]
    again = {_class(row.problem) for row in measured}
    old = [entry for entry in known if _class(entry) not in again]
    new = [entry for row in measured if (entry := row.entry()) is not None]
    return tuple(sorted((*old, *new), key=_class))


def _class(what: Entry | Problem) -> tuple[str, str]:
    return what.operator, what.shape
