"""What the machine is told. Contract messages are events as they are; these are the others."""

from dataclasses import dataclass

from services.scheduler import demand
from services.scheduler.demand import Demand
from services.scheduler.instructions import Instruction
from shared.contracts.v1.jobs import JobEvent, JobFinished, JobSubmitted
from shared.contracts.v1.models import ModelManifest, Route
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, WorkerCard


@dataclass(frozen=True, slots=True)
class Frame:
    """The bytes of a submission, as they came, with their SHA-256."""

    data: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job was delivered; `delivery` is its sequence in EL_JOBS."""

    delivery: int
    job: JobSubmitted
    frame: Frame
    demand: Demand = demand.NONE
    record: JobFinished | None = None  # how it ended, when it already has


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that is no job; `job` is known when at least its id could be read."""

    delivery: int
    tenant: str
    kind: str
    frame: Frame
    reason: str
    job: str | None = None
    subject: str = ""  # as it came, fit for people only


@dataclass(frozen=True, slots=True)
class Found:
    """A placed job that an earlier scheduler left in EL_RUN; `sequence` is its place there."""

    sequence: int
    worker_class: str
    attempt: int
    job: JobSubmitted
    frame: Frame
    demand: Demand = demand.NONE


@dataclass(frozen=True, slots=True)
class Placed:
    """EL_RUN has stored an attempt."""

    key: str
    attempt: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Unperformed:
    """The bus refused an instruction; it may be given again."""

    instruction: Instruction
    reason: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What is known of a placed job: its record, and whether its attempt still waits in EL_RUN."""

    key: str
    attempt: int
    record: JobFinished | None
    queued: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has its record, though the announcement did not say how it ended."""

    key: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked to cancel a job. An empty tenant means any: ids are unique per tenant."""

    tenant: str
    job: str


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """The card of a worker was removed or has expired."""

    worker: str


@dataclass(frozen=True, slots=True)
class ModelGone:
    """The manifest of a model was removed."""

    model: str


@dataclass(frozen=True, slots=True)
class ProfileGone:
    """The profile of a class was removed."""

    worker_class: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many jobs wait in EL_JOBS beyond those held."""

    waiting: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Arrival
    | Unreadable
    | Found
    | Placed
    | Unperformed
    | Looked
    | Ended
    | Cancelled
    | WorkerGone
    | ModelGone
    | ProfileGone
    | Backlog
    | Tick
    | JobEvent
    | JobFinished
    | Heartbeat
    | WorkerCard
    | ModelManifest
    | DeviceProfile
    | Route
)


def key(tenant: str, job: str) -> str:
    """The name of a job among all tenants."""
    return f"{tenant}.{job}"
