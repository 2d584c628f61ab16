"""Which layout a weight is stored in, and why: features rank, a trial decides, a cache remembers.

The trial is the caller's: it converts, runs and times. Nothing here reads a clock. A candidate is
worth its conversion once and its seconds at every use:

    total = conversion + uses * seconds

Dense is tried wherever it is possible at all, and what does not beat it by MARGIN loses to it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from shared.sparse import candidates, features, trials
from shared.sparse.candidates import DENSE, Candidate, Ranked
from shared.sparse.features import Features
from shared.sparse.trials import Answer, Answers, Failure, Key, Remembered, Trial
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout

TRIED = 3  # candidates beside dense: a trial costs a conversion
MARGIN = 0.05  # share of dense's total; less is within what repeated measurements differ by


class Goal(Enum):
    """What is wanted of a layout."""

    TIME = "time"
    BYTES = "bytes"
    BOTH = "both"  # the fastest of those that are smaller than dense


Measure = Callable[[Candidate], Answer]


@dataclass(frozen=True, slots=True)
class Question:
    """A matrix, and what is done with it."""

    features: Features
    columns: int  # of x
    uses: int  # products until the matrix changes; 0: none, so only conversion counts
    dtype: Dtype = Dtype.F32  # of stored values; anything but f32 changes numbers
    goal: Goal = Goal.TIME

    def __post_init__(self) -> None:
        """Refuse counts that are none.

        Raises:
            ValueError: negative columns or uses, or values of another type.
        """
        if self.columns < 0 or self.uses < 0:
            raise ValueError(f"need columns and uses of 0 or more: {self.columns}, {self.uses}")
        if self.dtype not in candidates.VALUES:
            raise ValueError(f"values are stored as f32, f16 or i8, got {self.dtype}")

    @property
    def shape(self) -> str:
        """The class of the matrix and of x."""
        return features.shape_class(self.features, self.columns)


@dataclass(frozen=True, slots=True)
class Choice:
    """The layout to store a matrix in, and all that it was chosen from."""

    candidate: Candidate
    reason: str
    ranked: tuple[Ranked, ...]  # every candidate that fits, as expected before the trial
    measured: Answers
    uses: int
    cached: bool = False  # the trials are those of an earlier matrix

    @property
    def layout(self) -> Layout:
        """That of the candidate."""
        return self.candidate.layout

    @property
    def dtype(self) -> Dtype:
        """Type of the stored values."""
        return self.candidate.dtype

    @property
    def conversion_s(self) -> float:
        """Seconds that the conversion took; 0 when nothing was measured."""
        answer = self.measured.get(self.candidate)
        return answer.conversion_s if isinstance(answer, Trial) else 0.0


def layout(
    question: Question,
    measure: Measure,
    *,
    device: str,
    driver: str,
    cache: Mapping[Key, Remembered] | None = None,
) -> Choice:
    """Choose for one matrix: recall what is known of its class on the device, else try.

    Args:
        measure: converts, runs and times one candidate; a ValueError of it is a failure.
        device, driver: on which `measure` runs.
        cache: of earlier trials; only read.
    """
    known = recall(question, (cache or {}).get(Key(question.shape, device, driver)))
    if isinstance(known, Choice):
        return known
    answers = {candidate: _tried(measure, candidate) for candidate in plan(question)}
    return decide(question, answers, note=known)


def _tried(measure: Measure, candidate: Candidate) -> Answer:
    try:
        return measure(candidate)
    except ValueError as error:  # a conversion that names what it cannot hold
        return Failure(str(error))


def plan(question: Question) -> tuple[Candidate, ...]:
    """The few candidates to try: dense if possible, and those that should be best.

    A matrix that stores nothing is not worth a trial of anything but CSR.
    """
    if not question.features.nonzeros:
        fitting = candidates.fitting(question.features, question.dtype)
        return tuple(one for one in fitting if one.layout in (Layout.DENSE, Layout.CSR))
    ranked = _ranked(question)
    if question.goal is Goal.BYTES:
        ranked = tuple(sorted(ranked, key=lambda one: (one.nbytes, one.candidate.name)))
    else:
        ranked = tuple(sorted(ranked, key=lambda one: _expected(one, question.uses)))
    sparse = [one.candidate for one in ranked if one.candidate != DENSE]
    dense = [one.candidate for one in ranked if one.candidate == DENSE]
    return (*dense, *sparse[:TRIED])


def recall(question: Question, known: Remembered | None) -> Choice | str:
    """The choice that earlier trials lead to, or why they do not; empty when there are none."""
    if known is None:
        return ""
    fitting = candidates.fitting(question.features, question.dtype)
    try:
        return decide(question, trials.recall(known, fitting), cached=True)
    except ValueError as error:
        return f"what was remembered is not used: {error}"


def decide(question: Question, answers: Answers, *, cached: bool = False, note: str = "") -> Choice:
    """The best of what was tried; dense, else CSR, when nothing could be.

    Ties go to dense, then to the name. A time that is no time counts as a failure.

    Args:
        answers: by candidate, see `plan`.
        cached: whether they are those of an earlier matrix.
        note: to be told with the reason.
    """
    answers = trials.checked(answers)
    best = _best(question, {c: held for c, held in answers.items() if isinstance(held, Trial)})
    if best is None:
        dense = candidates.fits(DENSE, question.features)
        best = DENSE if dense else Candidate(Layout.CSR, question.dtype)
    notes = [f"measured before on {question.shape}"] if cached else []
    reason = "; ".join([_reason(question, best, answers), *notes, *([note] if note else [])])
    return Choice(best, reason, _ranked(question), answers, question.uses, cached)


def _best(question: Question, tried: Mapping[Candidate, Trial]) -> Candidate | None:
    """The best candidate of those that were tried with success; None when there are none."""

    def nbytes(candidate: Candidate) -> int:
        return candidates.nbytes(candidate, question.features)

    def total(candidate: Candidate) -> float:
        return tried[candidate].total(question.uses)

    by_time = sorted(tried, key=lambda c: (total(c), c != DENSE, c.name))
    if not by_time:
        return None
    fastest = by_time[0]
    match question.goal:
        case Goal.BYTES:
            return min(by_time, key=nbytes)
        case Goal.BOTH:
            rest = DENSE if DENSE in tried else fastest
            return next((c for c in by_time if nbytes(c) < nbytes(DENSE)), rest)
    if DENSE in tried and total(fastest) >= (1.0 - MARGIN) * total(DENSE):
        return DENSE
    return fastest


def _expected(one: Ranked, uses: int) -> tuple[float, str]:
    return one.conversion_s + uses * one.seconds, one.candidate.name


def _ranked(question: Question) -> tuple[Ranked, ...]:
    return candidates.ranked(question.features, question.columns, question.dtype)


def _reason(question: Question, best: Candidate, answers: Answers) -> str:
    """A sentence that holds the numbers, the chosen candidate first."""
    others = [trials.told(c, answer) for c, answer in answers.items() if c != best]
    against = f" against {', '.join(others)}" if others else ""
    wanted = "for its bytes" if question.goal is Goal.BYTES else f"{question.uses} uses"
    return f"{trials.told(best, answers.get(best))}{against}; {wanted}"
