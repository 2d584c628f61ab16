"""Sessions: each call of one goes to the worker that holds it; when that is gone, to another, which
takes the session up from its last snapshot."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from services.gateway import signature
from services.gateway.tables import Tables
from shared.bus.port import Bus
from shared.contracts import errors, frame, subjects
from shared.contracts.errors import (
    DeadlineExceeded,
    DeviceLost,
    InvalidMessage,
    ModelNotReady,
    NoWorker,
    SessionElsewhere,
    SuiteError,
    UnknownSession,
)
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import ModelManifest
from shared.contracts.v1.sessions import (
    SessionAnswer,
    SessionCall,
    SessionCard,
    SessionStart,
    SessionWork,
)
from shared.tensors.layouts import Tensor

REMEMBERED = 65_536  # sessions whose worker is known without asking the bucket
TRIES = 4  # workers that are asked for one call
LOOK = 0.25  # [s] between two looks whether the worker that computes still lives
CATALOGUE = errors.catalogue()
Tensors = Mapping[str, Tensor]


class Place(NamedTuple):
    """Where a session is, and what it runs."""

    worker: str
    model: str
    variant: str
    artifact: BlobRef


class Sessions:
    """What this gateway knows of sessions, and the way to their workers."""

    def __init__(self, bus: Bus, tables: Tables) -> None:
        self._bus, self._tables = bus, tables
        self._clock = asyncio.get_running_loop().time
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._load: Counter[str] = Counter()  # sessions by worker

    async def place(self, tenant: str, name: str) -> Place:
        """Where a session is.

        Raises:
            UnknownSession: nowhere.
        """
        key = f"{tenant}.{name}"
        if key in self._places:
            return self._places[key]
        entry = await self._bus.get(Bucket.SESSIONS, key)
        if entry is None or entry.value is None:
            raise UnknownSession(f"no session {name!r}")
        card = SessionCard.decode(entry.value)
        return self._note(key, Place(card.worker, card.model, card.variant, card.artifact))

    async def beginning(self, start: SessionStart) -> Place:
        """What a session would run that begins now; nowhere yet.

        Raises:
            UnknownModel, ModelNotReady.
        """
        manifest = await self._tables.model(start.model)
        if not manifest.loaded:
            raise ModelNotReady(f"model {manifest.model!r} is unloaded")
        variant = signature.variant_of(manifest, start.variant or "")
        return Place("", manifest.model, variant.name, variant.artifact)

    def manifest(self, place: Place) -> ModelManifest | None:
        """Of what a session runs, unless it was removed meanwhile."""
        return self._tables.table.models.get(place.model)

    async def call(
        self, tenant: str, name: str, call: SessionCall, tensors: Tensors, *, deadline: float
    ) -> tuple[SessionAnswer, Tensors]:
        """Do one call, on another worker when the first one is gone.

        Args:
            deadline: [s] on the clock of the event loop.

        Raises:
            SuiteError: of the catalogue; what the worker answered, or why none could.
        """
        key = f"{tenant}.{name}"
        gone: frozenset[str] = frozenset()
        last: SuiteError = UnknownSession(f"no session {name!r}")
        for _ in range(TRIES):
            place = await self._target(tenant, name, call.start, gone)
            take = call.start is None and self._is_gone(place.worker, gone)
            worker = self._taker(place, gone) if take else place.worker
            work = _work(tenant, name, call, place, take=take)
            try:
                answer, outputs = await self._ask(worker, work, tensors, deadline)
            except SessionElsewhere as error:
                self._forget(key)
                last = error
                continue
            except (NoWorker, DeviceLost) as error:  # the worker is gone, or its device is
                self._forget(key)
                gone, last = gone | {worker}, error
                continue
            self._forget(key)
            if not call.end:
                self._note(key, place._replace(worker=worker))
            return answer, outputs
        raise last

    async def _target(
        self, tenant: str, name: str, start: SessionStart | None, gone: frozenset[str]
    ) -> Place:
        if start is None:
            place = await self.place(tenant, name)
            if self._is_gone(place.worker, gone):  # another gateway may know better
                self._forget(f"{tenant}.{name}")
                place = await self.place(tenant, name)
            return place
        place = await self.beginning(start)
        return place._replace(worker=self._taker(place, gone))

    def _taker(self, place: Place, gone: frozenset[str]) -> str:
        """The worker for a session: of the class that serves its variant best, the one with the
        fewest sessions.

        Raises:
            NoWorker: nobody who lives has the network loaded.
        """
        table = self._tables.table
        out = gone | set(table.silent(self._clock()))
        cards = [c for c in table.holders(place.artifact.sha256) if c.worker not in out]
        if not cards:
            raise NoWorker(f"no worker that lives has {place.model!r} {place.variant!r} loaded")
        route = table.routes.get(place.model)
        classes = [c.worker_class for c in route.choices.get(place.variant, ())] if route else []
        order = {worker_class: at for at, worker_class in enumerate(classes)}
        return min(
            cards,
            key=lambda c: (order.get(c.worker_class, len(order)), self._load[c.worker], c.worker),
        ).worker

    def _is_gone(self, worker: str, gone: frozenset[str] = frozenset()) -> bool:
        table = self._tables.table
        silent = table.silent(self._clock())
        return worker in gone or worker not in table.cards or worker in silent

    async def _ask(
        self, worker: str, work: SessionWork, tensors: Tensors, deadline: float
    ) -> tuple[SessionAnswer, Tensors]:
        """Send work and wait for its answer, as long as the worker lives."""
        left = deadline - self._clock()
        if left <= 0:
            raise DeadlineExceeded(f"session {work.session!r} did not answer in time")
        budget = min(left, work.call.budget)
        sent = work.model_copy(update={"call": work.call.model_copy(update={"budget": budget})})
        subject = subjects.sessions_of_worker(worker)
        data = frame.encode(sent, tensors)
        reply = asyncio.ensure_future(self._bus.request(subject, data, timeout=budget))
        try:
            while not (await asyncio.wait({reply}, timeout=LOOK))[0]:
                if self._is_gone(worker):
                    raise NoWorker(f"worker {worker} fell silent")
            answer, outputs = frame.decode(reply.result(), SessionAnswer)
        finally:
            reply.cancel()
        if answer.code:
            raise CATALOGUE.get(answer.code, SuiteError)(answer.message)
        return answer, outputs

    def _note(self, key: str, place: Place) -> Place:
        self._forget(key)
        self._places[key] = place
        self._load[place.worker] += 1
        if len(self._places) > REMEMBERED:
            self._forget(next(iter(self._places)))
        return place

    def _forget(self, key: str) -> None:
        place = self._places.pop(key, None)
        if place is not None:
            self._load[place.worker] -= 1


def require_model(place: Place, model: str, variant: str) -> None:
    """Refuse a call that names another model than its session runs.

    Raises:
        InvalidMessage: it does.
    """
    if (model, variant or place.variant) != (place.model, place.variant):
        raise InvalidMessage(
            f"the session runs {place.model!r} {place.variant!r}, the call names {model!r} "
            f"{variant!r}"
        )


def _work(tenant: str, name: str, call: SessionCall, place: Place, *, take: bool) -> SessionWork:
    known = {} if call.start is None else {"variant": place.variant, "artifact": place.artifact}
    return SessionWork(tenant=tenant, session=name, call=call, take=take, **known)
