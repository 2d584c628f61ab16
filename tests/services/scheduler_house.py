"""Messages to the scheduler's machine, and what to look for in its answers."""

import hashlib

from services.scheduler.events import (
    Arrival,
    Frame,
    Placed,
    Tick,
)
from services.scheduler.instructions import (
    Instruction,
    Place,
)
from services.scheduler.machine import Machine
from shared.contracts.v1.jobs import (
    BlobRef,
    Body,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    Status,
    StepTime,
)
from shared.contracts.v1.models import Latency, ModelManifest, PortSignature, Variant
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, Measure, WorkerCard

RELU = OperatorBody(operator="relu")
COMPUTE = ("infer", "operator")
SHA = "a" * 64


def submitted(
    job: str = "j1", *, body: Body = RELU, delivery: int = 1, **fields: object
) -> Arrival:
    message = JobSubmitted(job=job, body=body, **fields)
    data = message.encode()
    return Arrival(delivery, message, Frame(data, hashlib.sha256(data).hexdigest()))


def card(worker: str, worker_class: str = "cpu", *, slots: int = 1, **fields: object) -> WorkerCard:
    whole = {"kinds": COMPUTE, "service": "test", "pid": 1} | fields
    return WorkerCard(worker=worker, worker_class=worker_class, slots=slots, **whole)


def beat(worker: str, worker_class: str = "cpu", *running: str, **fields: object) -> Heartbeat:
    whole = {"slots": 1, "free": 0} | fields
    return Heartbeat(worker=worker, worker_class=worker_class, running=running, **whole)


def finished(job: str, status: Status = Status.SUCCEEDED, **fields: object) -> JobFinished:
    whole = {"tenant": "default", "kind": "operator", "worker": "w"} | fields
    return JobFinished(job=job, status=status, **whole)


def profile(worker_class: str, rate: float) -> DeviceProfile:
    """Every figure at `rate` per second; a launch takes a microsecond."""
    per_second = Measure(median=rate, low=rate, high=rate, samples=9)
    launch = Measure(median=1e-6, low=1e-6, high=1e-6, samples=9)
    return DeviceProfile(
        worker_class=worker_class,
        worker="w",
        device=f"a {worker_class}",
        driver="d",
        measured_at=0.0,
        copy_bandwidth=per_second,
        gemm_rate=per_second,
        spmm_rate=per_second,
        launch=launch,
        upload_bandwidth=per_second,
        download_bandwidth=per_second,
    )


def manifest(*latencies: tuple[str, float], flops: float | None = None) -> ModelManifest:
    """A model timed on some classes; with `flops`, also traced: one step of so many."""
    step = StepTime(step="s", operator="gemm_f32", seconds=1e-4, flops=flops or 0.0, bytes=0.0)
    variant = Variant(
        name="dense",
        artifact=BlobRef(sha256=SHA, size=4_000_000),
        weight_bytes=4_000_000,
        latencies=tuple(
            Latency(worker_class=name, device="d", batch=1, p50=p50, p99=p50, samples=50)
            for name, p50 in latencies
        ),
        steps={} if flops is None else {"cpu": (step,)},
    )
    port = PortSignature(name="x", dtype="f32", shape=(-1, 4))
    return ModelManifest(model="m", inputs=(port,), outputs=(port,), variants=(variant,))


def only(kind: type[Instruction], instructions: list[Instruction]) -> list[Instruction]:
    return [each for each in instructions if isinstance(each, kind)]


def place(machine: Machine, event: Arrival, now: float = 0.0, *, sequence: int = 100) -> Place:
    """Submit, and confirm the placement that must follow."""
    [placed] = only(Place, machine.handle(event, now))
    confirm(machine, placed, now, sequence=sequence)
    return placed


def confirm(machine: Machine, placed: Place, now: float, *, sequence: int) -> list[Instruction]:
    key = f"{placed.tenant}.{placed.job}"
    return machine.handle(Placed(key, placed.attempt, sequence), now)


def beats(
    machine: Machine, workers: dict[str, tuple[str, ...]], *, until: float
) -> list[Instruction]:
    """Heartbeats twice a second and ticks from 0.5 s on; returns what the machine said."""
    said: list[Instruction] = []
    for step in range(1, round(until / 0.1) + 1):
        now = step * 0.1
        if step % 5 == 0:
            for worker, running in workers.items():
                said += machine.handle(beat(worker, "cpu", *running), now)
        said += machine.handle(Tick(), now)
    return said
