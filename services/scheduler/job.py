"""One accepted job inside the machine."""

from dataclasses import dataclass, field
from enum import Enum

from services.scheduler.demand import Demand
from services.scheduler.events import Frame
from services.scheduler.instructions import Finish, Place
from shared.contracts.v1.jobs import InferBody, JobSubmitted, OperatorBody
from shared.placement.assign import Candidate

Order = tuple[int, float, int]  # level, deadline, arrival: the smallest goes first


class Phase(Enum):
    """Where a job is between acceptance and its record."""

    WAITING = "waiting"  # in the ready queue
    PLACING = "placing"  # a Place was given and is not confirmed
    RUNNING = "running"  # an attempt is stored in EL_RUN; a worker may have it
    ENDING = "ending"  # a Finish was given and is not confirmed


WAITING, PLACING, RUNNING, ENDING = Phase  # looked up once: Python 3.11 is slow at it


@dataclass(slots=True, eq=False)
class Job:
    """What is known of a job. The machine alone changes it."""

    key: str
    message: JobSubmitted
    frame: Frame
    demand: Demand
    order: Order
    arrived: float  # [s] first seen
    phase: Phase = WAITING
    since: float = 0.0  # [s] start of the phase
    delivery: int | None = None  # EL_JOBS sequence, until acknowledged
    attempt: int = 0  # the last one published or being published
    lost: int = 0  # workers that vanished with it in hand
    doubts: int = 0  # workers of its class that vanished and may have had it
    worker_class: str = ""  # where the last attempt went
    seconds: float = 0.0  # [s] expected there; what it adds to the load of the class
    sequence: int | None = None  # of the last attempt in EL_RUN
    candidates: tuple[Candidate, ...] = ()  # classes that could run it, the best first
    lane: tuple[str, ...] = ()  # their names: jobs of one lane wait behind each other
    shunned: frozenset[str] = frozenset()  # classes whose device failed it
    best: float = 0.0  # [s] expected on the best of them
    pending: Place | Finish | None = None  # given, not confirmed
    retry_at: float | None = None  # [s] when `pending` is given again
    look_at: float = 0.0  # [s] when its record is read next
    look_gap: float = field(default=0.0)  # [s] between two readings
    tenant: str = field(init=False)  # this and what follows is the message's, kept nearer at hand
    id: str = field(init=False)
    kind: str = field(init=False)
    pinned: str | None = field(init=False)  # the class the client insists on

    def __post_init__(self) -> None:
        self.tenant, self.id = self.message.tenant, self.message.job
        self.kind, self.pinned = self.message.body.kind, self.message.worker_class

    @property
    def operator(self) -> str:
        """The operator it calls, or nothing."""
        return self.message.body.operator if isinstance(self.message.body, OperatorBody) else ""

    @property
    def subject(self) -> tuple[str | None, ...]:
        """What it is about: jobs that agree in this and in their demand cost the same."""
        match self.message.body:
            case InferBody() as body:
                return body.model, body.variant, body.artifact
            case OperatorBody() as body:
                return (body.operator,)
            case _:
                return ()

    @property
    def movable(self) -> bool:
        """Whether another class may run it than the one it was placed on."""
        return self.pinned is None and isinstance(self.message.body, InferBody | OperatorBody)
