"""Trials of candidates: what they took, why they failed, and which earlier ones still hold."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from shared.sparse import candidates
from shared.sparse.candidates import DENSE, Candidate

EDITION = 1  # of what trials compare; older ones were of other conversions or candidates
LONGEST = 3600.0  # [s] that a sane trial reports


@dataclass(frozen=True, slots=True)
class Trial:
    """What a candidate took on the device that will serve it."""

    seconds: float  # of one product
    conversion_s: float  # from the form in which the matrix is at hand

    def total(self, uses: int) -> float:
        """Seconds of one conversion and so many products."""
        return self.conversion_s + uses * self.seconds

    @property
    def sane(self) -> bool:
        """Whether a clock can have given these numbers."""
        if not (isfinite(self.seconds) and isfinite(self.conversion_s)):
            return False
        return 0.0 < self.seconds < LONGEST and 0.0 <= self.conversion_s < LONGEST


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a candidate could not be tried."""

    reason: str


Answer = Trial | Failure
Answers = Mapping[Candidate, Answer]


class Key(NamedTuple):
    """What a trial holds for."""

    shape: str  # see features.shape_class
    device: str
    driver: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """Trials of an earlier matrix of the same class, by name of candidate."""

    edition: int
    trials: Mapping[str, Trial]


def recall(known: Remembered, fitting: Collection[Candidate]) -> Answers:
    """Remembered trials that hold for a matrix, given the candidates that can hold it.

    Raises:
        ValueError: they are of another edition, hold numbers that no clock gives, or lack what a
            decision takes: a trial of dense, where dense is possible, and one of another layout.
    """
    if known.edition != EDITION:
        raise ValueError(f"it is of edition {known.edition}, not {EDITION}")
    found: dict[Candidate, Answer] = {}
    for name, trial in known.trials.items():
        candidate = candidates.EVERY.get(name)
        if candidate is None:
            raise ValueError(f"{name!r:.80} is no candidate")
        if not trial.sane:
            raise ValueError(f"{name} took {trial.seconds} s after {trial.conversion_s} s")
        if candidate in fitting:
            found[candidate] = trial
    if DENSE in fitting and DENSE not in found:
        raise ValueError("it has no trial of dense")
    if all(candidate == DENSE for candidate in found):
        raise ValueError("it has no trial of a sparse layout that fits")
    return found


def checked(answers: Answers) -> dict[Candidate, Answer]:
    """The answers, where a time that is no time is a failure."""
    return {
        candidate: answer
        if isinstance(answer, Failure) or answer.sane
        else Failure(f"it reported {answer.seconds} s after {answer.conversion_s} s")
        for candidate, answer in answers.items()
    }


def told(candidate: Candidate, answer: Answer | None) -> str:
    """An answer in a few words."""
    match answer:
        case Trial(seconds, conversion_s):
            return f"{candidate.name} {1e3 * seconds:.3g} ms (made in {1e3 * conversion_s:.3g} ms)"
        case Failure(reason):
            return f"{candidate.name} (failed: {reason})"
    return f"{candidate.name} (not tried)"
