"""Contenders in turns: processes that stay up, one timed at a time, steal watched each time."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ops.bench import machine

ROOT = Path(__file__).parents[2]
ROUNDS = 9  # clean samples wanted of each call
TRIES = 27  # samples taken at most


@dataclass(frozen=True, slots=True)
class Side:
    """How to start a contender."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(slots=True)
class Series:
    """Samples of one call [s]: those that count, and the steal of every turn."""

    work: tuple[float, ...] = ()  # bytes moved, flops, bytes between host and device
    samples: list[float] = field(default_factory=list)
    steal: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """Median of the samples that count; None when neighbours left none."""
        return median(self.samples) if self.samples else None


class Contender:
    """A running contender."""

    def __init__(self, side: Side, process: "subprocess.Popen[str]") -> None:
        self.side = side
        self._process = process

    def ask(self, **question: object) -> object:
        """One line there, one line back.

        Raises:
            RuntimeError: the process has ended; its own words are on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.side.name} has left with {self._process.wait()}")
        return json.loads(line)


@contextmanager
def running(sides: Sequence[Side]) -> Iterator[list[Contender]]:
    """Every contender, started; ended with the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(_started(side)) for side in sides]


@contextmanager
def _started(side: Side) -> Iterator[Contender]:
    with subprocess.Popen(
        list(side.command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(side.environment),
    ) as process:
        try:
            yield Contender(side, process)
        finally:
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """Close its stdin, which it takes for the end; kill what does not."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


def measure(contenders: Sequence[Contender], case: Mapping[str, object]) -> dict[str, Series]:
    """Time every call of a case, by `<side>/<call>`, in rounds over all of them.

    A call has enough samples after ROUNDS clean ones; the others go on up to TRIES rounds.
    """
    calls: dict[str, tuple[Contender, str, int]] = {}
    series: dict[str, Series] = {}
    for contender in contenders:
        works = contender.ask(do="prepare", case=case)
        assert isinstance(works, dict)
        for name, work in works.items():
            full, found = f"{contender.side.name}/{name}", _sample(contender, name, None)
            calls[full] = (contender, name, int(found["calls"]))
            series[full] = Series(tuple(work))
    for _ in range(TRIES):
        waiting = [name for name, held in series.items() if len(held.samples) < ROUNDS]
        for name in waiting:
            _take(series[name], *calls[name])
    return series


def _take(series: Series, contender: Contender, name: str, calls: int) -> None:
    with machine.watching_steal() as steal:
        found = _sample(contender, name, calls)
    series.steal.append(steal.share)
    if steal.clean:
        series.samples.append(found["seconds"])


def _sample(contender: Contender, name: str, calls: int | None) -> Mapping[str, float]:
    found = contender.ask(do="time", name=name, calls=calls)
    assert isinstance(found, dict)
    return found
