"""One side of a comparison: a process that prepares a case and times named calls when it is asked.

The sides run in virtual environments of their own and take turns, so that a call of one never runs
beside a call of another. Talks JSON lines over stdin and stdout; needs the standard library alone.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

LEAST_SECONDS = 0.025  # of one sample: /proc/stat counts steal in ticks of 10 ms
PAUSE = 0.02  # [s] before a sample: threads of the side before may still spin
MOST_CALLS = 2000

Call = Callable[[], object]


class Work(NamedTuple):
    """A call to be timed, and what it cannot avoid; 0: nobody counted."""

    call: Call
    moved: float = 0.0  # [bytes] read and written
    flops: float = 0.0
    crossing: float = 0.0  # [bytes] between host and device, where they are two


Prepare = Callable[[Mapping[str, object]], Mapping[str, Work]]
Facts = Callable[[], Mapping[str, object]]


def serve(prepare: Prepare, facts: Facts) -> None:
    """Answer until stdin ends: `prepare` a case, then `time` its calls by name."""
    calls: dict[str, Work] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "facts":
            answer: object = dict(facts())
        elif asked["do"] == "prepare":
            calls.clear()  # the last case is freed before the next is made
            calls.update(prepare(asked["case"]))
            answer = {name: work[1:] for name, work in calls.items()}
        else:
            answer = sample(calls[asked["name"]].call, asked["calls"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def sample(call: Call, count: int | None) -> dict[str, float]:
    """Seconds of one call as the mean of `count`; None warms up and finds a fitting count."""
    if count is None:
        call()
        started = time.perf_counter()
        call()
        once = max(time.perf_counter() - started, 1e-7)
        count = min(max(int(LEAST_SECONDS / once), 1), MOST_CALLS)
    time.sleep(PAUSE)
    call()  # wakes our own threads and warms the caches
    started = time.perf_counter()
    for _ in range(count):
        call()
    return {"calls": count, "seconds": (time.perf_counter() - started) / count}
