"""Tuned values prove themselves again before a worker serves with them.

The rule: each entry is measured beside the start values in turns, as long as SECONDS last. One that
is more than LOSS slower in two comparisons, or that is refused, or whose answer is wrong, is not
used: the start values stand. Entries that the time did not reach are used as they were found; every
start begins with another entry, so that each has its turn.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from time import perf_counter

import structlog

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.tuned import problems, search
from services.gpu_worker.tuned.entry import Entry, Unreadable, decode
from services.gpu_worker.tuned.rig import DeviceRig
from services.gpu_worker.tuned.search import Refused, Rig
from shared.contracts.errors import DeviceFailed

SECONDS = 2.0  # [s] of a worker's start
log = structlog.get_logger()
Opener = Callable[[Entry], AbstractContextManager[Rig]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """An entry that is not used, and why."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the proof left."""

    kept: tuple[Entry, ...] = ()  # in the order they were stored
    dropped: tuple[Dropped, ...] = ()
    unproved: int = 0  # of those kept: the time did not reach them


def adopt(backend: OpenCLBackend, entries: Sequence[Entry], *, turn: int) -> Outcome:
    """Have a backend use the entries that hold; `turn` says with which to begin."""

    def opened(entry: Entry) -> AbstractContextManager[Rig]:
        return closing(DeviceRig(backend, problems.named(entry.operator, entry.problem)))

    usable = [entry for entry in entries if entry.operator in backend.operators]
    outcome = prove(usable, opened, clock=perf_counter, turn=turn)
    backend.choices.adopt(outcome.kept)
    for each in outcome.dropped:
        lost = each.entry
        log.warning(
            "tuned.dropped", operator=lost.operator, problem=lost.problem, reason=each.reason
        )
    return outcome


def take(backend: OpenCLBackend, key: str, document: bytes) -> None:
    """Have a backend use a document that came from elsewhere, if it is sound."""
    try:
        found = decode(document, key, backend.choices.start.tuning)
    except Unreadable as error:
        log.warning("tuned.ignored", key=key, reason=str(error))
        return
    outcome = adopt(backend, found.entries, turn=0)
    log.info("tuned.adopted", entries=len(outcome.kept), dropped=len(outcome.dropped))


def prove(
    entries: Sequence[Entry],
    opened: Opener,
    *,
    clock: Callable[[], float],
    turn: int = 0,
    seconds: float = SECONDS,
) -> Outcome:
    """Measure entries again until the time is up.

    Args:
        entries: what was stored.
        opened: a rig for an entry.
        clock: now [s].
        turn: the entry to begin with, modulo their number.
        seconds: after these no further entry is begun.
    """
    end = clock() + seconds
    dropped: list[Dropped] = []
    unproved = 0
    for entry in _from(entries, turn):
        if clock() >= end:
            unproved += 1
        elif reason := _fails(entry, opened):
            dropped.append(Dropped(entry, reason))
    lost = [each.entry for each in dropped]
    kept = tuple(entry for entry in entries if entry not in lost)
    return Outcome(kept, tuple(dropped), unproved)


def _fails(entry: Entry, opened: Opener) -> str | None:
    try:
        with opened(entry) as rig:
            if search.holds(rig, entry.values):
                return None
            return "slower than the start values when measured again"
    except (Refused, DeviceFailed) as error:
        return str(error)


def _from(entries: Sequence[Entry], turn: int) -> Iterable[Entry]:
    first = turn % max(len(entries), 1)
    return (*entries[first:], *entries[:first])
