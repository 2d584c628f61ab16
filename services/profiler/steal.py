"""How much CPU time neighbours took: a measurement under steal says little about the device.

Read on the profiler's host; workers on other machines are not seen.
"""

from dataclasses import dataclass
from pathlib import Path

MOST = 0.05  # share of CPU time lost to neighbours above which a measurement is made again
STAT = Path("/proc/stat")
STEAL_FIELD = 7  # user nice system idle iowait irq softirq steal guest guest_nice
COUNTED = 8  # guest time is part of user time


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Clock ticks of all CPUs since boot."""

    total: int
    stolen: int


def parse(text: str) -> CpuTimes:
    """The first line of /proc/stat.

    Raises:
        ValueError: it is not one.
    """
    head, *fields = text.splitlines()[0].split() if text else [""]
    if head != "cpu" or len(fields) < COUNTED:
        raise ValueError(f"not the format of /proc/stat: {text[:80]!r}")
    ticks = [int(field) for field in fields[:COUNTED]]
    return CpuTimes(total=sum(ticks), stolen=ticks[STEAL_FIELD])


def read(path: Path = STAT) -> CpuTimes:
    """The counters now; zero where the system has none."""
    try:
        return parse(path.read_text())
    except OSError:
        return CpuTimes(0, 0)


def share(before: CpuTimes, after: CpuTimes) -> float:
    """Stolen part of the time between two readings, 0..1."""
    passed = after.total - before.total
    return (after.stolen - before.stolen) / passed if passed > 0 else 0.0
