"""The machine a figure was taken on, and how much of it neighbours stole meanwhile."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_STEAL = 0.05  # a repeat counts only below this share of CPU time


@dataclass(slots=True)
class Steal:
    """Share of this machine's busy CPU time that the hypervisor gave to others, 0..1."""

    share: float = 0.0

    @property
    def clean(self) -> bool:
        return self.share <= MAX_STEAL


@contextmanager
def watching_steal() -> Iterator[Steal]:
    """Measure steal over the body from /proc/stat."""
    seen = Steal()
    before = _ticks()
    yield seen
    spent = [now - then for now, then in zip(_ticks(), before, strict=True)]
    idle = spent[3] + spent[4]
    busy = sum(spent[:8]) - idle
    seen.share = spent[7] / busy if busy else 0.0


def facts() -> dict[str, object]:
    """What every results file names: CPU, cores, system, commit, date."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _ticks() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str:
    """The commit, and whether what is measured differs from it; results and their pages are not."""
    name = _git("describe", "--always") or "unknown"
    measured = ("--", ".", ":!ops/bench/results", ":!ops/docs")
    changed = _git("status", "--porcelain", "--untracked-files=no", *measured)
    return f"{name}-dirty" if changed else name


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()
