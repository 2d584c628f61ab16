"""Which job is next: fair between tenants, then by priority with ageing, then by deadline.

Between tenants: deficit round robin (Shreedhar and Varghese 1996). A visit is worth one quantum;
a job costs its expected seconds, at least a quarter of a quantum and at most one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import floor, inf

from services.scheduler.job import Job

QUANTUM = 1.0  # [s] of work per visit
CHEAPEST = 0.25 * QUANTUM
MOST = 2 * QUANTUM  # that a tenant may save up
Wanted = Callable[[Job], bool]
Entry = tuple[int, float, int, Job]  # its order, flat: heaps compare entries a lot


def level_of(
    priority: int, deadline: float | None, arrived: float, ageing: float
) -> tuple[int, float]:
    """The static part of a job's order.

    Ageing gains one level per `ageing` seconds of waiting. All jobs age alike, so the order of two
    never changes: it is priority plus the time slice of arrival, and within one the deadline.
    """
    return priority + floor(arrived / ageing), inf if deadline is None else deadline


def cost(job: Job) -> float:
    """What serving a job takes from its tenant's credit."""
    best = job.best
    return CHEAPEST if best < CHEAPEST else min(best, QUANTUM)


@dataclass(slots=True)
class _Tenant:
    """One tenant's waiting jobs: a heap per lane."""

    name: str
    credit: float = 0.0
    count: int = 0
    lanes: dict[tuple[str, ...], list[Entry]] = field(default_factory=dict)

    def heads(self) -> list[Job]:
        """The first job of every lane, the most urgent lane first."""
        if len(self.lanes) == 1:
            return [heap[0][-1] for heap in self.lanes.values()]
        return [entry[-1] for entry in sorted(heap[0] for heap in self.lanes.values())]

    def next(self, wanted: Wanted) -> Job | None:
        """The first head that is wanted, when the credit is enough for it."""
        if self.credit < CHEAPEST:
            return None
        for job in self.heads():
            if wanted(job):
                return job if self.credit >= cost(job) else None
        return None


@dataclass(slots=True)
class Ready:
    """The waiting jobs of all tenants; `load` is what they take together on their best classes."""

    load: float = 0.0  # [s]
    _count: int = 0
    _tenants: dict[str, _Tenant] = field(default_factory=dict)
    _ring: deque[_Tenant] = field(default_factory=deque)

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job) -> bool:
        """Queue a job; True when it is the first of its lane and so may be placed at once."""
        name = job.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(name)
            self._ring.append(tenant)
        heap = tenant.lanes.setdefault(job.lane, [])
        heappush(heap, (*job.order, job))
        tenant.count += 1
        self._count += 1
        self.load += job.best
        return heap[0][-1] is job

    def remove(self, job: Job) -> None:
        """Take a certain job out; a job that is not here stays unmentioned."""
        tenant = self._tenants.get(job.tenant)
        heap = tenant.lanes.get(job.lane, []) if tenant else []
        for place, entry in enumerate(heap):
            if entry[-1] is job and tenant is not None:
                self._drop(tenant, heap, place)
                return

    def next(self, wanted: Wanted) -> Job | None:
        """Take the job whose turn it is among those that `wanted` accepts now."""
        rounds = len(self._ring) + 1 if self._ring else 0
        for _ in range(rounds):
            tenant = self._ring[0]
            job = tenant.next(wanted)
            if job is not None:
                tenant.credit -= cost(job)
                self._drop(tenant, tenant.lanes[job.lane], 0)
                return job
            self._ring.rotate(-1)
            visited = self._ring[0]
            visited.credit = min(MOST, visited.credit + QUANTUM)
        return None

    def drain(self) -> list[Job]:
        """Take everything out, to be queued again under new lanes."""
        jobs = [job for one in self._ring for heap in one.lanes.values() for *_, job in heap]
        for tenant in self._ring:
            tenant.lanes.clear()
            tenant.count = 0
        self.load, self._count = 0.0, 0
        return jobs

    def tenants(self) -> dict[str, int]:
        """How many jobs of each tenant wait."""
        return {tenant.name: tenant.count for tenant in self._ring if tenant.count}

    def latest(self, tenant: str) -> list[Job]:
        """The waiting jobs of a tenant, the one to be served last first."""
        lanes = self._tenants[tenant].lanes.values()
        return [job for *_, job in sorted((one for heap in lanes for one in heap), reverse=True)]

    def _drop(self, tenant: _Tenant, heap: list[Entry], place: int) -> None:
        job = heap[place][-1]
        if place == 0:
            heappop(heap)
        else:
            heap[place] = heap[-1]
            heap.pop()
            heapify(heap)
        tenant.count -= 1
        self._count -= 1
        if not heap:
            del tenant.lanes[job.lane]
        self.load = self.load - job.best if self._count else 0.0
        if tenant.count == 0:  # a tenant that leaves takes no credit with it
            del self._tenants[tenant.name]
            self._ring.remove(tenant)
