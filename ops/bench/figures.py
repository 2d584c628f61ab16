"""The parts of result pages: numbers as text, markdown tables, and where a figure comes from."""

from collections.abc import Mapping
from statistics import median

from ops.bench import comparison

Calls = Mapping[str, Mapping[str, object]]
DASH = "–"  # of a cell without a clean sample


def micro(calls: Calls, call: str) -> str:
    """Median of a call in microseconds."""
    seconds = comparison.seconds(calls, call)
    return (
        DASH
        if seconds is None
        else f"{1e6 * seconds:.3g}"
        if seconds < 1e-3
        else f"{1e6 * seconds:.0f}"
    )


def ratio(calls: Calls, rival: str, ours: str) -> str:
    """How many times as fast ours is."""
    value = comparison.ratio(calls, rival, ours)
    return DASH if value is None else f"{value:.2f}"


def number(value: object) -> float:
    """A number of a results file."""
    assert isinstance(value, int | float)
    return float(value)


def cases(found: Mapping[str, object]) -> Mapping[str, Calls]:
    """The calls of every case of a results file."""
    held = found["cases"]
    assert isinstance(held, Mapping)
    return held


def markdown(rows: list[list[str]]) -> str:
    """A table; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "| --- |" + " ---: |" * (len(rows[0]) - 1), *lines[1:]])


def shown(told: tuple[float, float]) -> str:
    """A mean and half its interval."""
    return f"{told[0]:.2f} ± {told[1]:.2f}"


def footer(found: Mapping[str, object]) -> str:
    """Machine, versions, commit, date and how many samples count."""
    machine, sides = found["machine"], found["sides"]
    assert isinstance(machine, Mapping)
    assert isinstance(sides, Mapping)
    about = "; ".join(", ".join(f"{k} {v}" for k, v in side.items()) for side in sides.values())
    taken = [len(c["samples"]) for calls in cases(found).values() for c in calls.values()]  # type: ignore[arg-type]
    return (
        f"{machine['cpu']}, {machine['cores']} cores; {about}; commit {machine['commit']}, "
        f"{str(machine['date'])[:10]}; medians of {median(taken):.0f} samples (fewest "
        f"{min(taken)}) during which neighbours took at most 5 % of CPU time."
    )
