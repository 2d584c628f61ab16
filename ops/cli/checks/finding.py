"""What one check of the doctor found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`warn`: the suite runs with less; `fail`: it does not run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, what was seen, and what mends it."""

    check: str
    verdict: Verdict
    seen: str
    fix: str = ""


def ok(check: str, seen: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, seen)


def warn(check: str, seen: str, fix: str) -> Finding:
    """It runs with less."""
    return Finding(check, Verdict.WARN, seen, fix)


def fail(check: str, seen: str, fix: str) -> Finding:
    """It does not run."""
    return Finding(check, Verdict.FAIL, seen, fix)
