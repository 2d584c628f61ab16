"""Everything the machine knows, in one value that the transitions share."""

from collections import OrderedDict
from dataclasses import dataclass, field

from services.scheduler.estimates import Estimates
from services.scheduler.fleet import Fleet
from services.scheduler.job import Job
from services.scheduler.policy import Policy
from services.scheduler.ready import Ready
from shared.contracts.v1.models import Route
from shared.placement.assign import Candidate


@dataclass(slots=True)
class State:
    """Jobs, workers, measurements, routes. Only the transitions of this package change it."""

    policy: Policy
    fleet: Fleet
    jobs: dict[str, Job] = field(default_factory=dict)  # without a record, by `<tenant>.<job>`
    held: set[int] = field(default_factory=set)  # deliveries of EL_JOBS not yet acknowledged
    ready: Ready = field(default_factory=Ready)
    estimates: Estimates = field(default_factory=Estimates)
    candidates: dict[object, tuple[Candidate, ...]] = field(default_factory=dict)  # by equal work
    routes: dict[str, Route] = field(default_factory=dict)  # as published, by model
    ended: OrderedDict[str, str] = field(default_factory=OrderedDict)  # key -> digest
    first_seen: OrderedDict[str, float] = field(default_factory=OrderedDict)  # key -> [s]
    arrivals: int = 0  # jobs ever seen; the last tie-break of their order
    backlog: int = 0  # jobs in EL_JOBS beyond those held
    ticked: float | None = None  # [s] of the last Tick
    returned: float = 0.0  # [s] of the last round of giving back

    def remember(self, book: "OrderedDict[str, str] | OrderedDict[str, float]") -> None:
        """Keep a book of past jobs within its bound, the oldest leave."""
        while len(book) > self.policy.remembered:
            book.popitem(last=False)


def fresh(policy: Policy) -> State:
    """The state of a scheduler that has heard nothing yet."""
    return State(policy, Fleet(policy))
