"""The steps of a network for inputs of one shape, each with what is the same in every run.

Steps in a row of which each reads what the one before it makes, and nobody else reads, become one
where the backend can do them as one: what goes from each to the next is then kept nowhere.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.network.graph import Network, Step
from shared.operators.spec import (
    Attributes,
    Backend,
    Chaining,
    Link,
    OperatorSpec,
    Prepared,
    Types,
    port_of_chain,
)

Values = tuple[tuple[str, str], ...]  # (port, value)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned:
    """One step with everything about it that is the same in every run."""

    step: Step
    spec: OperatorSpec
    types: Types  # of all inputs
    attributes: Attributes  # every default filled in
    call: Prepared | None  # on the backend; None: the reference does it in host memory
    weights: Mapping[str, Any]  # port -> weight on the backend
    activations: Values
    dead: tuple[str, ...]  # values that nobody reads after it

    @property
    def outputs(self) -> Mapping[str, str]:
        """Value names by output port."""
        return self.step.outputs


@dataclass(frozen=True, slots=True)
class Chained:
    """Several steps in one call on the backend."""

    call: Prepared
    weights: Mapping[str, Any]  # ports of all steps, named as in a chain
    activations: Values
    outputs: Mapping[str, str]  # port -> value, where somebody reads it
    dead: tuple[str, ...]


Plan = tuple[Planned, ...]


def last_reads(network: Network) -> dict[str, tuple[str, ...]]:
    """By step name, the activations whose last reader (or, if unread, maker) it is."""
    last = {}
    for step in network.steps:
        for value in (*step.inputs.values(), *step.outputs.values()):
            last[value] = step.name
    kept = {*network.weights, *network.outputs}
    dead: dict[str, list[str]] = {step.name: [] for step in network.steps}
    for value, reader in last.items():
        if value not in kept:
            dead[reader].append(value)
    return {name: tuple(values) for name, values in dead.items()}


def chained(plan: Plan, backend: Backend) -> tuple[Planned | Chained, ...]:
    """The plan with the longest chains that the backend takes, looked for from its beginning."""
    if not isinstance(backend, Chaining):
        return plan
    made: list[Planned | Chained] = []
    at = 0
    while at < len(plan):
        end = _reach(plan, at)
        while end > at + 1 and (chain := _chain(plan[at:end], backend)) is None:
            end -= 1
        made.append(chain if end > at + 1 and chain else plan[at])
        at = end
    return tuple(made)


def _reach(plan: Plan, first: int) -> int:
    """The step after the last one that can be in a chain with the first."""
    made = set(plan[first].outputs.values())
    end = first + 1
    while end < len(plan) and (link := _link(plan[end - 1], plan[end])) is not None:
        others = {value for port, value in plan[end].activations if port != link[1]}
        if others & made:
            break
        made.update(plan[end].outputs.values())
        end += 1
    return end


def _link(before: Planned, after: Planned) -> tuple[str, str] | None:
    """The ports between two steps, where one value goes from the first to the second alone."""
    if before.call is None or after.call is None:
        return None
    found = [
        (source, port)
        for source, value in before.outputs.items()
        for port, read in after.activations
        if read == value and value in after.dead
    ]
    return found[0] if len(found) == 1 else None


def _chain(steps: Plan, backend: Chaining) -> Chained | None:
    """Steps of which each reads the one before it as one call, if the backend takes them."""
    gone = {value for step in steps for value in step.dead}
    made = {value for step in steps for value in step.outputs.values()}
    reads = (None, *map(_link, steps, steps[1:]))
    links = tuple(
        Link(step.spec, step.types, step.attributes, link, _ports_but(step.outputs, gone))
        for step, link in zip(steps, reads, strict=True)
    )
    call = backend.chain(links)
    return call and Chained(
        call,
        weights=_all((at, step.weights) for at, step in enumerate(steps)),
        activations=tuple(
            (port_of_chain(at, port), value)
            for at, step in enumerate(steps)
            for port, value in step.activations
            if value not in made
        ),
        outputs=_all(
            (at, {port: step.outputs[port] for port in link.wanted})
            for at, (step, link) in enumerate(zip(steps, links, strict=True))
        ),
        dead=tuple(gone - made),
    )


def _ports_but(outputs: Mapping[str, str], gone: Set[str]) -> tuple[str, ...]:
    """Ports whose values somebody reads after the chain."""
    return tuple(port for port, value in outputs.items() if value not in gone)


def _all(ports: Iterable[tuple[int, Mapping[str, T]]]) -> dict[str, T]:
    """What is known by port of every step, by port of the chain."""
    return {port_of_chain(at, port): one for at, known in ports for port, one in known.items()}
