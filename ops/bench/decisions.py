"""Time of one scheduling decision in process: a job ends, the machine orders and places the next.

1,000 jobs of ten tenants wait while eight classes of four workers each are full; then every end of
a job frees room for one placement, and one more job arrives.

The same decisions are made in several runs. What interrupts one of them (a timer tick, a
neighbour's time slice) interrupts another decision in the next
run, so beside the percentiles of everything stand those of each decision's median over the runs.
"""

import gc
import itertools
import time

import numpy as np

from services.scheduler import events, machine
from services.scheduler.demand import NONE
from services.scheduler.instructions import Instruction, Place
from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import JobFinished, JobSubmitted, OperatorBody, Status
from shared.contracts.v1.workers import Heartbeat, WorkerCard

CLASSES, WORKERS, WAITING, TENANTS = 8, 4, 1000, 10
WARM_UP, DECISIONS, RUNS = 500, 4000, 5


def measure() -> dict[str, object]:
    """Percentiles [s] of handling an end (which places) and an arrival, over all runs and `own`."""
    gc.collect()
    gc.freeze()  # as every service does when it starts
    try:
        turns = np.array([_run() for _ in range(RUNS)])  # (runs, decisions, end and arrival)
    finally:
        gc.unfreeze()
    ends, arrivals = turns[..., 0], turns[..., 1]
    return {
        "waiting": WAITING,
        "classes": CLASSES,
        "runs": RUNS,
        **_percentiles("", ends),
        **_percentiles("arrival_", arrivals),
        **_percentiles("own_", np.median(ends, axis=0)),
        **_percentiles("own_arrival_", np.median(arrivals, axis=0)),
        "samples": [float(value) for value in ends.reshape(-1)],
    }


def _run() -> list[tuple[float, float]]:
    bench = _Bench()
    for _ in range(WARM_UP):
        bench.turn()
    return [bench.turn() for _ in range(DECISIONS)]


def _percentiles(prefix: str, seconds: np.ndarray) -> dict[str, float]:
    return {f"{prefix}p{share}": float(np.percentile(seconds, share)) for share in (50, 99)}


class _Bench:
    """A machine with full workers and a backlog."""

    def __init__(self) -> None:
        self.machine = machine.Machine(Policy(window=2 * WAITING))
        self._now = 1.0
        self._ids = itertools.count()
        self._running: list[str] = []
        for index in range(CLASSES * WORKERS):
            self._add_worker(f"w-{index}", f"class-{index % CLASSES}")
        while self.machine.held < WAITING:
            self._note(self.machine.handle(self._arrival(), self._now))

    def turn(self) -> tuple[float, float]:
        """One end and one arrival; returns the seconds that each took."""
        self._now += 1e-4
        job = self._running.pop(0)
        ended = JobFinished(
            job=job, tenant=_tenant(job), kind="operator", status=Status.SUCCEEDED, worker="w-0"
        )
        arrival = self._arrival()
        started = time.perf_counter()
        placed = self.machine.handle(ended, self._now)
        between = time.perf_counter()
        more = self.machine.handle(arrival, self._now)
        done = time.perf_counter()
        self._note([*placed, *more])
        return between - started, done - between

    def _note(self, instructions: list[Instruction]) -> None:
        """Answer every placement as the broker would: stored."""
        for instruction in instructions:
            if isinstance(instruction, Place):
                self._running.append(instruction.job)

    def _arrival(self) -> events.Arrival:
        job = f"job-{next(self._ids)}"
        submitted = JobSubmitted(
            job=job, tenant=_tenant(job), body=OperatorBody(operator="relu"), priority=4
        )
        frame = events.Frame(b"{}", job)
        return events.Arrival(next(self._ids), submitted, frame, NONE)

    def _add_worker(self, worker: str, worker_class: str) -> None:
        kinds = ("infer", "operator")
        card = WorkerCard(
            worker=worker, worker_class=worker_class, service="cpu-worker", pid=1, slots=1,
            kinds=kinds, operators=("relu",),
        )  # fmt: skip
        beat = Heartbeat(worker=worker, worker_class=worker_class, slots=1, free=1)
        self.machine.handle(card, self._now)
        self.machine.handle(beat, self._now)


def _tenant(job: str) -> str:
    return f"tenant-{int(job.removeprefix('job-')) % TENANTS}"
