"""`ellesmere status`: workers, queues, devices and routes on one screen."""

from typing import TYPE_CHECKING

from ops.cli.session import Session, columns

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from shared.contracts.v1.status import SuiteStatus
    from shared.contracts.v1.workers import WorkerCard

GIGA = 1e9


def status(session: Session) -> None:
    """Show what runs, what waits, what was measured and where models are served."""
    from ops.cli import remote

    state = remote.call(session, lambda client: client.status())
    session.show(state.model_dump(mode="json", exclude_none=True), lambda: _screen(state))


def _screen(state: "SuiteStatus") -> "Group":
    from rich.console import Group

    ready = "ready" if state.ready else "not ready"
    head = f"gateway {state.gateway}: {ready}, calls in hand: {state.in_flight}"
    return Group(
        head, "", _workers(state), "", _queues(state), "", _devices(state), "", _routes(state)
    )


def _workers(state: "SuiteStatus") -> "Table":
    headings = ("worker", "class", "pid", "device", "slots", "running", "models", "state")
    shown = columns(*headings)
    for worker in sorted(state.workers, key=lambda worker: worker.card.worker):
        card, beat = worker.card, worker.beat
        running = str(len(beat.running)) if beat else ""
        slots = f"{beat.free} of {beat.slots} free" if beat else str(card.slots)
        loaded = str(len(card.artifacts))
        who = (card.worker, card.worker_class, str(card.pid), card.device)
        shown.add_row(*who, slots, running, loaded, standing(card))
    return shown


def standing(card: "WorkerCard") -> str:
    """Whether a worker takes work, and why not."""
    if card.quarantined:
        return f"quarantined: {card.quarantined}"
    if card.unready:
        return f"unready: {card.unready}"
    return "draining" if card.draining else "ready"


def _queues(state: "SuiteStatus") -> "Table":
    shown = columns("queue", "waiting")
    for name, waiting in sorted(state.queues.items()):
        shown.add_row(name, str(waiting))
    return shown


def _devices(state: "SuiteStatus") -> "Table":
    shown = columns("class", "measured device", "copy GB/s", "GEMM GFLOP/s", "launch µs")
    for found in state.devices:
        copy, gemm = found.copy_bandwidth.median / GIGA, found.gemm_rate.median / GIGA
        launch = found.launch.median * 1e6
        numbers = (f"{copy:.1f}", f"{gemm:.1f}", f"{launch:.1f}")
        shown.add_row(found.worker_class, found.device, *numbers)
    return shown


def _routes(state: "SuiteStatus") -> "Table":
    shown = columns("model", "variant", "class", "ms", "why")
    for route in state.routes:
        for variant, choices in route.choices.items():
            for choice in choices:
                time = f"{choice.seconds * 1e3:.3f}"
                shown.add_row(route.model, variant, choice.worker_class, time, choice.reason)
    return shown
