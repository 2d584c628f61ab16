"""Keep a candidate or refuse it, from numbers alone; the reason is a sentence that holds them."""

from dataclasses import dataclass
from math import sqrt
from typing import Literal, NamedTuple

from shared.contracts.v1.models import Verdict

Objective = Literal["latency", "size", "both", "accuracy"]
MIN_GAIN = 0.02  # share of time or bytes; less is within what repeated measurements differ by
Z95 = 1.959964  # two-sided 95 % quantile of the normal distribution


class Interval(NamedTuple):
    """A share and the range that holds it with 95 % confidence."""

    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How one network did on the given rows and on the class that will serve it."""

    correct: int
    rows: int
    seconds: float  # median of one call
    bytes: int  # of its weights


@dataclass(frozen=True, slots=True)
class Terms:
    """What the caller asked for."""

    objective: Objective
    max_accuracy_drop: float  # 0..1
    worker_class: str


def wilson(correct: int, rows: int) -> Interval:
    """The 95 % score interval of a share; sound for few rows and for shares near 0 and 1.

    Raises:
        ValueError: no rows, or more correct ones than there are.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if not 0 <= correct <= rows or rows == 0:
        raise ValueError(f"{correct} of {rows} rows is no share")
    share = correct / rows
    spread = 1 + Z95**2 / rows
    centre = (share + Z95**2 / (2 * rows)) / spread
    half = Z95 * sqrt(share * (1 - share) / rows + Z95**2 / (4 * rows**2)) / spread
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def judge(baseline: Quality, candidate: Quality, terms: Terms) -> Verdict:
    """Accept when accuracy holds and every asked objective is met.

    Raises:
        ValueError: no rows, or a time that is not positive.
    """
    if min(baseline.seconds, candidate.seconds) <= 0:
        raise ValueError(f"times must be positive: {baseline.seconds}, {candidate.seconds}")
    before = wilson(baseline.correct, baseline.rows)
    after = wilson(candidate.correct, candidate.rows)
    missed = _missed(before.share - after.share, baseline, candidate, terms)
    facts = (
        f"accuracy {after.share:.2%} ({after.low:.2%} to {after.high:.2%} on {candidate.rows} rows)"
        f" against {before.share:.2%}, {_ms(candidate)} against {_ms(baseline)} per call on "
        f"{terms.worker_class}, {candidate.bytes} against {baseline.bytes} bytes"
    )
    opening = f"refused, {' and '.join(missed)}: " if missed else "accepted: "
    return Verdict(
        accepted=not missed,
        reason=opening + facts,
        worker_class=terms.worker_class,
        objective=terms.objective,
        accuracy=after.share,
        baseline_accuracy=before.share,
        accuracy_low=after.low,
        accuracy_high=after.high,
        seconds=candidate.seconds,
        baseline_seconds=baseline.seconds,
        bytes=candidate.bytes,
        baseline_bytes=baseline.bytes,
    )


def _missed(drop: float, baseline: Quality, candidate: Quality, terms: Terms) -> list[str]:
    """Each condition that does not hold, in words."""
    missed = []
    if drop > terms.max_accuracy_drop + 1e-12:  # 0.97 - 0.96 is a little over 0.01 in binary
        missed.append(
            f"accuracy fell by {100 * drop:.2f} points, over {100 * terms.max_accuracy_drop:.2f}"
        )
    if terms.objective in ("latency", "both"):
        missed += _short("fast", candidate.seconds / baseline.seconds)
    if terms.objective in ("size", "both"):
        missed += _short("small", candidate.bytes / max(baseline.bytes, 1))
    return missed


def _short(quality: str, ratio: float) -> list[str]:
    if ratio <= 1 - MIN_GAIN:
        return []
    return [f"not {quality} enough ({ratio:.2f} of the baseline, wanted {1 - MIN_GAIN:.2f})"]


def _ms(quality: Quality) -> str:
    return f"{1e3 * quality.seconds:.3f} ms"
