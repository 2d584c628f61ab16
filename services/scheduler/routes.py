"""Routes: for every variant of a model the classes that may serve it, in order of cost."""

from collections.abc import Iterable, Iterator

from services.scheduler import estimates
from services.scheduler.estimates import Line
from services.scheduler.instructions import Instruction, PublishRoute, RemoveRoute
from services.scheduler.state import State
from shared.contracts.v1.models import ModelManifest, Route, RouteChoice, Variant
from shared.placement import assign
from shared.placement.assign import Candidate
from shared.placement.hardware import Source


def refreshed(state: State, models: Iterable[str]) -> Iterator[Instruction]:
    """Publish the routes of these models that differ from what gateways were told."""
    for model in models:
        manifest = state.estimates.models.get(model)
        if manifest is None:
            continue
        route = _route(state, manifest)
        if route != state.routes.get(model):
            state.routes[model] = route
            yield PublishRoute(route)


def removed(state: State, model: str) -> Iterator[Instruction]:
    """A model is gone."""
    state.estimates.models.pop(model, None)
    if state.routes.pop(model, None) is not None:
        yield RemoveRoute(model)


def _route(state: State, manifest: ModelManifest) -> Route:
    served = manifest.variants if manifest.loaded else ()
    choices = {variant.name: _choices(state, manifest.model, variant) for variant in served}
    return Route(model=manifest.model, choices=choices)


def _choices(state: State, model: str, variant: Variant) -> tuple[RouteChoice, ...]:
    classes = [one.name for one in state.fleet.live() if one.runs("infer", "")]
    lines = {
        name: estimates.line(variant, name, state.estimates.of_class(name)) for name in classes
    }
    told = state.routes.get(model)
    before = told.choices.get(variant.name, ()) if told else ()
    candidates = [line.candidate(name) for name, line in lines.items()]
    standing = before[0].worker_class if before else None
    ordered = assign.order(candidates, standing=standing)
    return tuple(_choice(one, lines[one.worker_class], ordered) for one in ordered)


def _choice(one: Candidate, line: Line, ordered: list[Candidate]) -> RouteChoice:
    return RouteChoice(
        worker_class=one.worker_class,
        seconds=line.seconds,
        seconds_per_row=line.per_row,
        measured=line.source is Source.MEASURED,
        reason=_reason(one, line, ordered),
    )


def _reason(one: Candidate, line: Line, ordered: list[Candidate]) -> str:
    """What is known of a class, each fact once, and the nearest rival with its own time."""
    told = f"{one.worker_class} {line.told}{_bound(one)}"
    rival = next((other for other in ordered if other is not one), None)
    if rival is None:
        return f"{told}; no rival"
    place = "next" if one is ordered[0] else "behind"
    time = f"{assign.ms(rival.seconds)} ({rival.source}{_bound(rival)})"
    return f"{told}; {place} {rival.worker_class} with {time}"


def _bound(one: Candidate) -> str:
    return "" if one.certain else f", judged by its bound of {assign.ms(one.bound)}"
