"""The search itself: which values to try, in which order, and when to believe a difference.

One field after another takes the value that is fastest with what was chosen before. Contenders take
turns, so that whatever slows the machine down slows all of them. Nothing here knows a device.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from services.gpu_worker.tuned.space import Field, Value, Values, without_defaults
from services.gpu_worker.tuning import Tuning

ROUNDS = 5  # samples of each contender for a field's values
SIFTED, HOPELESS = 2, 1.5  # after so many rounds a contender so much slower than the best leaves
CONFIRM = 11  # samples of each of the last two comparisons
LEAD = 1.02  # how much faster a value must be to take the place of the best so far
GAIN = 1.05  # how much faster than the start values the outcome must be to be kept
LOSS = 1.05  # how much slower than the start values a stored outcome may be when measured again
Frozen = tuple[tuple[str, Value], ...]


class Refused(Exception):
    """These values cannot be used: they do not compile, exceed a limit, or compute wrongly."""


class Rig(Protocol):
    """What a search measures with."""

    def prepare(self, values: Values) -> object:
        """Build, run once and compare with the known answer.

        Returns:
            What tells launches apart: equal for values that come to the same launches.

        Raises:
            Refused: with the reason.
        """
        ...

    def time(self, values: Values) -> float:
        """One sample [s] of values that were prepared."""
        ...

    def vet(self, values: Values) -> None:
        """Compare with the known answers of every case of the operator; raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one configuration."""

    values: dict[str, Value]
    seconds: float | None = None  # median [s]; None: it was refused
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """How a search ended; without `values` the start values stand."""

    values: dict[str, Value]
    seconds: float  # median with `values` [s], from the last comparison
    start_seconds: float  # median with the start values in the same rounds [s]
    samples: int
    tried: tuple[Tried, ...]
    complete: bool  # False: the time was up before every value was tried

    @property
    def gain(self) -> float:
        """How many times as fast as with the start values."""
        return self.start_seconds / self.seconds


@dataclass(slots=True)
class Search:
    """A search in progress.

    Args:
        fields: in the order in which they are decided.
        start: what every field has before.
        allowed: why values may not be tried; None: they may.
        rig: measures.
        late: whether the time is up; asked before a value is prepared.
    """

    fields: Sequence[Field]
    start: Tuning
    allowed: Callable[[Values], str | None]
    rig: Rig
    late: Callable[[], bool]
    tried: list[Tried] = field(default_factory=list)
    _complete: bool = True
    _met: set[Frozen] = field(default_factory=set)
    _launches: list[object] = field(default_factory=list)

    def run(self, known: Values | None = None) -> Found:
        """Search; `known` are values that were good before and are tried first.

        Raises:
            Refused: the start values themselves cannot be used.
        """
        self._met.add(())
        self._launches.append(self.rig.prepare({}))
        path: list[dict[str, Value]] = [{}]  # what was best, one after the other
        if known is not None:
            path.append(self._better(path[-1], [without_defaults(self.start, known)]))
        for each in self.fields:
            choices = [
                without_defaults(self.start, {**path[-1], each.name: value})
                for value in each.candidates(self.start)
            ]
            path.append(self._better(path[-1], choices))
        return self._confirmed(self._vetted(path))

    def _better(self, best: dict[str, Value], choices: list[dict[str, Value]]) -> dict[str, Value]:
        """The best of what was best and those choices that can be used and are new."""
        contenders = [best, *(choice for choice in choices if self._usable(choice))]
        if len(contenders) == 1:
            return best
        medians = compare(self.rig, contenders, ROUNDS)
        self.tried += [
            Tried(values, seconds)
            for values, seconds in zip(contenders[1:], medians[1:], strict=True)
        ]
        fastest = min(range(len(contenders)), key=medians.__getitem__)
        return contenders[fastest] if medians[fastest] * LEAD < medians[0] else best

    def _usable(self, values: dict[str, Value]) -> bool:
        if frozen(values) in self._met:
            return False
        if self.late():
            self._complete = False
            return False
        self._met.add(frozen(values))
        try:
            if reason := self.allowed(values):
                raise Refused(reason)
            launches = self.rig.prepare(values)
        except Refused as refused:
            self.tried.append(Tried(values, refused=str(refused)))
            return False
        if launches in self._launches:  # measured under another name
            return False
        self._launches.append(launches)
        return True

    def _vetted(self, path: list[dict[str, Value]]) -> dict[str, Value]:
        """The last step of the path that is right in every case of the operator."""
        for place, values in reversed(list(enumerate(path))):
            if not values or values in path[place + 1 :]:
                continue
            try:
                self.rig.vet(values)
            except Refused as refused:
                self.tried.append(Tried(values, refused=str(refused)))
            else:
                return values
        return {}

    def _confirmed(self, best: dict[str, Value]) -> Found:
        """Beside the start values once more, and again: one gain may be chance."""
        told = tuple(self.tried)
        contenders: tuple[Values, ...] = ({}, best) if best else ({},)
        start, *seconds = compare(self.rig, contenders, CONFIRM)
        if seconds and start >= seconds[0] * GAIN:
            start, *seconds = compare(self.rig, contenders, CONFIRM)
        if seconds and start >= seconds[0] * GAIN:
            return Found(best, seconds[0], start, CONFIRM, told, self._complete)
        return Found({}, start, start, CONFIRM, told, self._complete)


def compare(rig: Rig, contenders: Sequence[Values], rounds: int) -> list[float]:
    """Median [s] of each, measured in turns, forwards and backwards, after one turn to warm up.

    One that is far behind after SIFTED rounds takes part no longer.
    """
    for values in contenders:
        rig.time(values)
    samples: list[list[float]] = [[] for _ in contenders]
    racing = list(range(len(contenders)))
    for number in range(rounds):
        for place in racing if number % 2 == 0 else reversed(racing):
            samples[place].append(rig.time(contenders[place]))
        if number + 1 == SIFTED:
            best = min(min(samples[place]) for place in racing)
            racing = [p for p in racing if p == 0 or min(samples[p]) <= best * HOPELESS]
    return [median(times) for times in samples]


def holds(rig: Rig, values: Values) -> bool:
    """Whether stored values still are no slower than the start values: a second comparison must
    agree before they are given up.

    Raises:
        Refused: they cannot be used any more.
    """
    for each in ({}, values):
        rig.prepare(each)
    return any(ratio <= LOSS for ratio in _ratios(rig, values))


def _ratios(rig: Rig, values: Values) -> Iterator[float]:
    for rounds in (ROUNDS, CONFIRM):
        start, tuned = compare(rig, ({}, values), rounds)
        yield tuned / start


def frozen(values: Values) -> Frozen:
    """Values as a key."""
    return tuple(sorted(values.items()))
