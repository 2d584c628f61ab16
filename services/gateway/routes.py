"""Which worker gets a call: a table in memory and a choice without I/O.

The scheduler's route orders the classes. Within a class, a call goes to one worker until that has
`spill` calls waiting, so that its weights stay in its caches; then to the next worker, then to the
next class. Which worker is first differs from artifact to artifact, but not from call to call.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from services.gateway.faults import Busy
from services.gateway.limits import Limits
from services.gateway.signature import near
from shared.contracts import subjects
from shared.contracts.errors import ModelNotReady, NoWorker, UnknownModel
from shared.contracts.v1.models import ModelManifest, Route, Variant
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, WorkerCard


@dataclass(frozen=True, slots=True)
class Target:
    """Where packed calls are sent: one worker, or whoever of a class is free (no `worker`)."""

    subject: str
    worker_class: str
    worker: str = ""


Load = Callable[[Target, str], int]  # target, artifact -> calls waiting there
_Plan = tuple[tuple[Target, ...], ...]  # by class in route order


@dataclass(slots=True)
class RouteTable:
    """What the gateway knows of models, routes and workers. Times [s] are the caller's clock."""

    limits: Limits
    models: dict[str, ModelManifest] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    devices: dict[str, DeviceProfile] = field(default_factory=dict)
    cards: dict[str, WorkerCard] = field(default_factory=dict)
    beats: dict[str, Heartbeat] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    _plans: dict[tuple[str, str], _Plan] = field(default_factory=dict)

    def put_model(self, manifest: ModelManifest) -> None:
        """A model was added or changed."""
        self.models[manifest.model] = manifest
        self._plans.clear()

    def drop_model(self, name: str) -> None:
        """A model was removed."""
        self.models.pop(name, None)
        self._plans.clear()

    def put_route(self, route: Route) -> None:
        """The scheduler decided where a model is served."""
        self.routes[route.model] = route
        self._plans.clear()

    def drop_route(self, name: str) -> None:
        """The scheduler withdrew a route."""
        self.routes.pop(name, None)
        self._plans.clear()

    def put_card(self, card: WorkerCard, now: float) -> None:
        """A worker said what it can do; it says so every second."""
        self.heard[card.worker] = now
        if self.cards.get(card.worker) != card:
            self.cards[card.worker] = card
            self._plans.clear()

    def drop_card(self, worker: str) -> None:
        """A worker is gone, or does not answer; its next card brings it back."""
        for known in (self.cards, self.beats, self.heard):
            known.pop(worker, None)
        self._plans.clear()

    def hear(self, beat: Heartbeat, now: float) -> None:
        """A worker lives."""
        self.heard[beat.worker] = now
        self.beats[beat.worker] = beat

    def silent(self, now: float) -> list[str]:
        """Workers with a card that were not heard of for too long."""
        return [name for name in self.cards if not self._fresh(name, now)]

    def model(self, name: str) -> ModelManifest:
        """The manifest of a model.

        Raises:
            UnknownModel: there is none; names the nearest.
        """
        manifest = self.models.get(name)
        if manifest is None:
            raise UnknownModel(f"no model {name!r}{near(name, self.models)}")
        return manifest

    def ready(self, manifest: ModelManifest, variant: Variant) -> bool:
        """Whether a call of the variant would find a worker."""
        return manifest.loaded and any(self._plan(manifest, variant))

    def holders(self, artifact: str) -> list[WorkerCard]:
        """Workers that have an artifact loaded and take calls."""
        cards = self.cards.values()
        return [card for card in cards if artifact in card.artifacts and not card.draining]

    def has_other(self, artifact: str, *, than: str, now: float) -> bool:
        """Whether another worker than this one has an artifact and was heard of lately."""
        names = (card.worker for card in self.holders(artifact))
        return any(name != than and self._fresh(name, now) for name in names)

    def choose(
        self,
        manifest: ModelManifest,
        variant: Variant,
        *,
        load: Load,
        now: float,
        excluded: frozenset[str] = frozenset(),
    ) -> Target:
        """Pick where a call goes.

        Args:
            load: how many calls wait at a target.
            excluded: subjects of targets that failed this call already.

        Raises:
            ModelNotReady: nobody has the variant loaded.
            NoWorker: nobody is there at all.
            Busy: everybody who could is full.
        """
        artifact = variant.artifact.sha256
        least, second = self.limits.full, None
        for target in self._eligible(manifest, variant, now, excluded):
            waiting = load(target, artifact)
            if waiting < self.limits.spill:
                return target
            if waiting < least:
                least, second = waiting, target
        if second is not None:
            return second
        raise self._nobody(manifest, variant, excluded)

    def fallback(
        self, manifest: ModelManifest, variant: Variant, *, excluded: frozenset[str]
    ) -> Target | None:
        """The queue group of the first class that serves the variant: whoever of it still lives."""
        for targets in self._plan(manifest, variant):
            worker_class = targets[0].worker_class
            group = Target(subjects.interactive(worker_class), worker_class)
            if group.subject not in excluded:
                return group
        return None

    def _eligible(
        self, manifest: ModelManifest, variant: Variant, now: float, excluded: frozenset[str]
    ) -> Iterator[Target]:
        """Workers in order of preference; those not heard of lately come last."""
        suspects = []
        for targets in self._plan(manifest, variant):
            for target in targets:
                if target.subject in excluded:
                    continue
                if self._fresh(target.worker, now):
                    yield target
                else:
                    suspects.append(target)
        yield from suspects

    def _fresh(self, worker: str, now: float) -> bool:
        return now - self.heard.get(worker, 0.0) <= self.limits.silent

    def _plan(self, manifest: ModelManifest, variant: Variant) -> _Plan:
        key = (manifest.model, variant.name)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._planned(manifest, variant)
        return plan

    def _planned(self, manifest: ModelManifest, variant: Variant) -> _Plan:
        """Targets by class: the route's classes in order, then any other that has the artifact."""
        artifact = variant.artifact.sha256
        by_class: dict[str, list[Target]] = {}
        route = self.routes.get(manifest.model)
        for choice in route.choices.get(variant.name, ()) if route else ():
            by_class[choice.worker_class] = []
        for card in sorted(self.holders(artifact), key=lambda card: _weight(artifact, card)):
            target = Target(
                subjects.interactive_worker(card.worker), card.worker_class, card.worker
            )
            by_class.setdefault(card.worker_class, []).append(target)
        return tuple(tuple(targets) for targets in by_class.values() if targets)

    def _nobody(
        self, manifest: ModelManifest, variant: Variant, excluded: frozenset[str]
    ) -> Exception:
        what = f"model {manifest.model!r} version {variant.name!r}"
        if not self.cards:
            return NoWorker("no worker is alive")
        plan = self._plan(manifest, variant)
        if not plan:
            return ModelNotReady(f"no worker has loaded {what} yet")
        if all(target.subject in excluded for targets in plan for target in targets):
            return NoWorker(f"every worker that has {what} failed to answer")
        return Busy(f"every worker of {what} has {self.limits.full} calls waiting")


def _weight(artifact: str, card: WorkerCard) -> bytes:
    """An order of workers that is the same in every gateway, and another for every artifact."""
    return blake2b(f"{artifact}/{card.worker}".encode(), digest_size=8).digest()
