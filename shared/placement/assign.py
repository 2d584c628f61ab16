"""Which class: order them by when they would be finished, and say why with the numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.placement.hardware import CPU_CLASS, Source

SWITCH_GAIN = 0.15  # share a rival must be faster by before a standing choice is left


@dataclass(frozen=True, slots=True)
class Candidate:
    """A class that could do the work: how long the work takes there, and what is before it."""

    worker_class: str
    seconds: float  # [s] of the work itself
    source: Source
    wait: float = 0.0  # [s] until the work could start

    @property
    def finish(self) -> float:
        """Seconds from now until the work is done."""
        return self.wait + self.seconds


def _rank(candidate: Candidate) -> tuple[bool, float, bool, str]:
    guessed = candidate.source is Source.PRIOR and candidate.worker_class != CPU_CLASS
    finish = candidate.wait + candidate.seconds
    return guessed, finish, candidate.worker_class != CPU_CLASS, candidate.worker_class


def order(candidates: Iterable[Candidate], *, standing: str | None = None) -> list[Candidate]:
    """Classes by expected finish, the best first.

    Classes nobody has measured come last, but for the CPU, whose prior is trusted to work. The
    `standing` class stays first unless another one is faster by more than `SWITCH_GAIN`.
    """
    ranked = sorted(candidates, key=_rank)
    if standing is None or not ranked or ranked[0].worker_class == standing:
        return ranked
    held = next((one for one in ranked if one.worker_class == standing), None)
    if held is None or (held.source is Source.PRIOR and ranked[0].source is not Source.PRIOR):
        return ranked
    if ranked[0].finish < held.finish * (1.0 - SWITCH_GAIN):
        return ranked
    return [held, *(one for one in ranked if one is not held)]


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The first of `order`, without sorting; None when there is no candidate."""
    return min(candidates, key=_rank, default=None)


def reason(chosen: Candidate, candidates: Iterable[Candidate]) -> str:
    """One sentence: the chosen class with its numbers, and the nearest rival with its own."""
    others = [one for one in candidates if one.worker_class != chosen.worker_class]
    rival = best(others)
    told = f"{chosen.worker_class} ends in {_told(chosen)}"
    return f"{told}; next {rival.worker_class} in {_told(rival)}" if rival else f"{told}; no rival"


def _told(candidate: Candidate) -> str:
    wait = f" after {candidate.wait * 1e3:.3g} ms of queue" if candidate.wait else ""
    return f"{candidate.finish * 1e3:.3g} ms{wait} ({candidate.source})"
