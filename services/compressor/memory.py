"""Trials of layouts that are remembered per class of workers, in the bucket of the profiles."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.bus.port import Bus
from shared.contracts.errors import InvalidMessage
from shared.contracts.subjects import Bucket
from shared.contracts.v1.workers import LayoutTrial, LayoutTrials, WorkerCard
from shared.sparse import candidates, trials
from shared.sparse.choose import Question
from shared.sparse.trials import Answers, Key, Remembered, Trial

MOST = 256  # classes of matrices that are kept; the latest
SWAPS = 20  # tries to store what others store, too


@dataclass(frozen=True, slots=True)
class Host:
    """What trials of a class ran on."""

    device: str
    driver: str


async def host(bus: Bus, worker_class: str) -> Host | None:
    """What the live workers of a class run on; None when they differ or there are none."""
    cards = (
        WorkerCard.decode(entry.value)
        for entry in await bus.entries(Bucket.WORKERS)
        if entry.value is not None
    )
    found = {Host(card.device, card.driver) for card in cards if card.worker_class == worker_class}
    return found.pop() if len(found) == 1 else None


async def load(bus: Bus, worker_class: str) -> dict[Key, Remembered]:
    """Everything that is remembered of a class; nothing when it cannot be read."""
    held, _ = await _read(bus, worker_class)
    if held is None:
        return {}
    return {
        Key(shape, held.device, held.driver): Remembered(held.edition, _trials(stored))
        for shape, stored in held.trials.items()
    }


async def store(
    bus: Bus, worker_class: str, on: Host, found: Iterable[tuple[Question, Answers]]
) -> None:
    """Remember trials; those of another device, driver or edition are forgotten.

    What others store meanwhile stays. When they are faster every time, nothing is stored: it is
    measured again when it is needed.
    """
    fresh = {question.shape: answers for question, answers in found}
    if not fresh:
        return
    for _ in range(SWAPS):
        held, revision = await _read(bus, worker_class)
        changed = _merged(worker_class, on, held, fresh)
        key, data = f"layouts.{worker_class}", changed.encode()
        if await bus.swap(Bucket.ROUTES, key, data, revision=revision) is not None:
            return


async def _read(bus: Bus, worker_class: str) -> tuple[LayoutTrials | None, int]:
    entry = await bus.get(Bucket.ROUTES, f"layouts.{worker_class}")
    if entry is None:
        return None, 0
    try:
        return LayoutTrials.decode(entry.value or b""), entry.revision
    except InvalidMessage:  # foreign; what is stored next takes its place
        return None, entry.revision


def _merged(
    worker_class: str, on: Host, held: LayoutTrials | None, fresh: Mapping[str, Answers]
) -> LayoutTrials:
    known: dict[str, tuple[LayoutTrial, ...]] = {}
    old: dict[str, dict[str, Trial]] = {}
    if held and (held.device, held.driver, held.edition) == (on.device, on.driver, trials.EDITION):
        known = {shape: told for shape, told in held.trials.items() if shape not in fresh}
        old = {shape: _trials(held.trials.get(shape, ())) for shape in fresh}
    known |= {shape: _plain(answers, old.get(shape, {})) for shape, answers in fresh.items()}
    return LayoutTrials(
        worker_class=worker_class,
        device=on.device,
        driver=on.driver,
        edition=trials.EDITION,
        trials=dict(list(known.items())[-MOST:]),
    )


def _trials(stored: Iterable[LayoutTrial]) -> dict[str, Trial]:
    return {told.candidate: Trial(told.seconds, told.conversion) for told in stored}


def _plain(answers: Answers, old: Mapping[str, Trial]) -> tuple[LayoutTrial, ...]:
    """New trials, and old ones of other candidates (those of other value types)."""
    fresh = {c.name: told for c, told in answers.items() if isinstance(told, Trial)}
    kept = {name: told for name, told in old.items() if name in candidates.EVERY and told.sane}
    return tuple(
        LayoutTrial(candidate=name, seconds=told.seconds, conversion=told.conversion_s)
        for name, told in (kept | fresh).items()
    )
