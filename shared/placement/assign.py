"""Which class: by when the work would be finished there at the latest, with the numbers as the
reason."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from shared.placement.hardware import CPU_CLASS, Source

SWITCH_GAIN = 0.15  # share a rival must be faster by before a standing choice is left
SPILL = 8.0  # times slower that a class may be and still relieve a full one: it adds an eighth
PRIOR, MEASURED = Source.PRIOR, Source.MEASURED  # looked up once: Python 3.11 is slow at it
NO_QUEUES: Mapping[str, float] = {}


def ms(seconds: float) -> str:
    """A time for people: milliseconds with three significant digits and without exponent."""
    return f"{Decimal(f'{seconds * 1e3:.3g}'):f} ms"


class Candidate(NamedTuple):
    """A class that could do the work, and how long the work itself takes there.

    Classes are told by `seconds` and compared by `bound`; see `measured` and `expected`.
    """

    worker_class: str
    seconds: float  # [s] typical
    source: Source
    bound: float  # [s] cautious

    @property
    def guessed(self) -> bool:
        """Nobody has measured this class. The CPU counts as known: it always works."""
        return self.source is PRIOR and self.worker_class != CPU_CLASS

    @property
    def certain(self) -> bool:
        """This very work was timed there."""
        return self.source is MEASURED


def measured(worker_class: str, seconds: float) -> Candidate:
    """A class where the work was timed: what was measured is what it is compared by."""
    return Candidate(worker_class, seconds, Source.MEASURED, seconds)


def expected(worker_class: str, seconds: float, *, high: float, source: Source) -> Candidate:
    """A class where the time is computed: `high`, the upper end of its interval [s], with the
    margin of `SWITCH_GAIN` on top, so that no calculation wins over a measurement by a hair.
    """
    return Candidate(worker_class, seconds, source, high / (1.0 - SWITCH_GAIN))


class Reason(NamedTuple):
    """Why a class was chosen: the numbers at that moment. Its text is made when somebody reads it,
    which is most of the time of a decision.
    """

    chosen: Candidate
    candidates: Sequence[Candidate]
    waits: Mapping[str, float]

    def __str__(self) -> str:
        """The chosen class with its numbers, and the nearest rival with its own."""
        name = self.chosen.worker_class
        rivals = [one for one in self.candidates if one.worker_class != name]
        if not rivals:
            source = self.chosen.source
            return f"{name} ends in {self._finish(self.chosen)} ({source}); no rival"
        rival = min(rivals, key=lambda one: self._wait(one) + one.bound)
        told = f"{name} ends in {self._told(self.chosen)}"
        return f"{told}; next {rival.worker_class} in {self._told(rival)}"

    def _told(self, one: Candidate) -> str:
        bound = "" if one.certain else f", judged by its bound of {ms(one.bound)}"
        return f"{self._finish(one)} ({one.source}{bound})"

    def _finish(self, one: Candidate) -> str:
        wait = self._wait(one)
        queue = f" with {ms(wait)} of queue" if wait else ""
        return f"{ms(wait + one.seconds)}{queue}"

    def _wait(self, one: Candidate) -> float:
        return self.waits.get(one.worker_class, 0.0)


def order(candidates: Iterable[Candidate], *, standing: str | None = None) -> list[Candidate]:
    """Idle classes by their bounds, the best first, guessed ones behind all others.

    The `standing` class stays first unless another one is faster by more than `SWITCH_GAIN`. Where
    only one of the two was measured its rival's bound says so already.
    """
    ranked = sorted(candidates, key=_rank)
    held = next((one for one in ranked if one.worker_class == standing), None)
    if held is None or not _alike(held, ranked[0]):
        return ranked
    if ranked[0].bound < held.bound * (1.0 - SWITCH_GAIN):
        return ranked
    return [held, *(one for one in ranked if one is not held)]


def choose(
    candidates: Sequence[Candidate],
    waits: Mapping[str, float],
    room: Collection[str],
    backlog: float = 0.0,
) -> Candidate | None:
    """The class to place work on now, or None when waiting for a full class is better.

    Among classes with room the one that ends first is taken, unless a full class would end the
    work sooner still. A full class is relieved by a slower one (by at most `SPILL`, guessed or not)
    when that ends before the full class has worked off what waits for it.

    Args:
        candidates: in the order of `order`.
        waits: seconds until a class could start; a class that is absent has no live worker.
        room: classes that may be given work.
        backlog: [s] that the classes together need for everything else that waits.
    """
    best: Candidate | None = None
    full: Candidate | None = None
    best_finish = full_finish = float("inf")
    for one in candidates:
        wait = waits.get(one.worker_class)
        if wait is None:
            continue
        finish = wait + one.bound
        if one.worker_class not in room:
            if finish < full_finish:
                full, full_finish = one, finish
        elif finish < best_finish and (best is None or not one.guessed):
            best, best_finish = one, finish
    if best is None or full is None or (best_finish <= full_finish and not best.guessed):
        return best
    relieves = backlog > 0.0 and best.seconds <= SPILL * full.seconds
    return best if relieves and best_finish <= full_finish + backlog else None


def reason(
    chosen: Candidate, candidates: Sequence[Candidate], waits: Mapping[str, float] = NO_QUEUES
) -> Reason:
    """Keep the numbers behind a choice, before the queues change."""
    return Reason(chosen, candidates, dict(waits))


def _alike(one: Candidate, other: Candidate) -> bool:
    """Whether as much is known of both."""
    return (one.guessed, one.certain) == (other.guessed, other.certain)


def _rank(one: Candidate) -> tuple[bool, float, bool, str]:
    return one.guessed, one.bound, one.worker_class != CPU_CLASS, one.worker_class
