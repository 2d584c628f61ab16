"""A comparison from start to file: sides in turns over cases, medians, raw samples, the machine."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from ops.bench import machine, turns
from ops.bench.turns import Series, Side

Case = tuple[str, Mapping[str, object]]  # its name, and what the sides are told of it
DIGITS = 5  # significant; more than any clock here resolves


def run(sides: Sequence[Side], cases: Iterable[Case], console: Console) -> dict[str, object]:
    """Measure every case on every side; a case may write its files when it is drawn."""
    found: dict[str, object] = {}
    with turns.running(sides) as contenders:
        about = {held.side.name: held.ask(do="facts") for held in contenders}
        for name, case in cases:
            console.print(f"measuring {name}", style="dim")
            found[name] = {
                call: _plain(series) for call, series in turns.measure(contenders, case).items()
            }
    return {"machine": machine.facts(), "sides": about, "cases": found}


def write(found: Mapping[str, object], path: Path) -> None:
    """Write the results, a case to a line so that a difference can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = found["cases"]
    assert isinstance(cases, Mapping)
    head = json.dumps({key: found[key] for key in found if key != "cases"})
    lines = [f"{json.dumps(name)}: {json.dumps(calls)}" for name, calls in cases.items()]
    path.write_text(head[:-1] + ', "cases": {\n' + ",\n".join(lines) + "\n}}\n")


def seconds(calls: Mapping[str, Mapping[str, object]], name: str) -> float | None:
    """Median of a call [s]; None where it was not measured or neighbours left no clean sample."""
    value = calls[name]["seconds"] if name in calls else None
    return value if isinstance(value, float) else None


def ratio(calls: Mapping[str, Mapping[str, object]], rival: str, ours: str) -> float | None:
    """How many times as fast ours is."""
    theirs, mine = seconds(calls, rival), seconds(calls, ours)
    return None if theirs is None or mine is None else theirs / mine


def _plain(series: Series) -> dict[str, object]:
    median = series.seconds
    return {
        "seconds": None if median is None else _short(median),
        **dict(zip(("moved", "flops", "crossing"), series.work, strict=True)),
        "samples": [_short(value) for value in series.samples],
        "steal": [round(share, 3) for share in series.steal],
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
