"""What the machine wants done: values, performed by the driver, which decides nothing."""

from dataclasses import dataclass

from shared.contracts.v1.jobs import Failure, Status
from shared.contracts.v1.models import Route
from shared.placement.assign import Reason


@dataclass(slots=True)  # not frozen: that slows every decision; nobody changes one
class Place:
    """Store an attempt in EL_RUN, then acknowledge `delivery` and delete the attempt replaced."""

    tenant: str
    job: str
    kind: str
    worker_class: str
    attempt: int
    digest: str
    data: bytes
    reason: Reason | str = ""
    delivery: int | None = None  # sequence in EL_JOBS
    replaces: int | None = None  # sequence in EL_RUN


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Keep the bytes of a job for people, with the reason, then acknowledge `delivery`."""

    tenant: str
    job: str
    kind: str
    stream: str
    reason: str  # one token, part of the subject
    code: str  # of the error catalogue
    message: str
    digest: str
    data: bytes
    subject: str  # where the job was when it died
    attempts: int = 1  # placements, or the one submission
    delivery: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the record of a job unless it has one, then keep the letter if there is one,
    acknowledge `delivery` and delete `queued`."""

    tenant: str
    job: str
    kind: str
    status: Status
    failure: Failure
    digest: str = ""
    attempt: int = 1
    worker_class: str = ""
    delivery: int | None = None  # sequence in EL_JOBS
    queued: int | None = None  # sequence in EL_RUN
    letter: DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Nothing more to do for a delivery of EL_JOBS."""

    delivery: int


@dataclass(frozen=True, slots=True)
class Return:
    """Give a delivery back, to come again after `delay` seconds."""

    delivery: int
    delay: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete an attempt from EL_RUN that nobody needs to run."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Look:
    """Read the record of a job, and whether its attempt is still in EL_RUN; answered by Looked."""

    tenant: str
    job: str
    attempt: int
    sequence: int | None


@dataclass(slots=True)  # as Place
class Announce:
    """Note a change of a job's state in EL_AUDIT; may be lost."""

    tenant: str
    job: str
    what: str  # accepted, placed, ended
    digest: str = ""
    worker: str = ""
    worker_class: str = ""
    attempt: int = 0
    reason: str = ""
    kind: str | None = None  # with accepted
    sequence: int | None = None  # in EL_JOBS; with accepted


@dataclass(frozen=True, slots=True)
class PublishRoute:
    """Tell the gateways which classes serve a model."""

    route: Route


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """The model is gone; so is its route."""

    model: str


Instruction = (
    Place
    | Finish
    | DeadLetter
    | Acknowledge
    | Return
    | Discard
    | Look
    | Announce
    | PublishRoute
    | RemoveRoute
)
