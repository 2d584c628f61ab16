"""The suite: what it can compute, and whether a stack answers."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ops.cli.checks.finding import Finding, ok, warn
from shared.contracts.errors import SuiteError
from shared.contracts.v1.workers import WorkerCard


def operators() -> Finding:
    """What networks may be made of."""
    from shared.operators.catalog import CATALOG

    return ok("operators", ", ".join(spec.name for spec in CATALOG))


def stack(address: str, state: Sequence[WorkerCard] | SuiteError) -> Iterator[Finding]:
    """Whether a stack answers at `address`, and which of its workers are not well.

    Args:
        state: the cards of its workers, or why there are none.
    """
    if isinstance(state, SuiteError):
        yield warn("stack", f"none at {address} ({state})", "`ellesmere up` starts one")
    elif not state:
        yield warn("stack", f"answers at {address}, without workers", "start a cpu-worker")
    else:
        counts = Counter(card.worker_class for card in state)
        workers = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        yield ok("stack", f"answers at {address} with {workers}")
        yield from _ailing(state)


def _ailing(cards: Sequence[WorkerCard]) -> Iterator[Finding]:
    """The workers that take no work because of their devices."""
    for card in cards:
        where = f"{card.worker} ({card.worker_class}, pid {card.pid})"
        if card.quarantined:
            fix = "its device computes wrongly: check the hardware and the driver, then restart it"
            yield warn("worker", f"{where} is quarantined: {card.quarantined}", fix)
        elif card.unready:
            fix = "it tries its device again by itself; its log says what the driver said"
            yield warn("worker", f"{where} is unready: {card.unready}", fix)
