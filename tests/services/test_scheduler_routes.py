"""Routes: which classes serve a model, in which order, and why."""

from collections.abc import Callable

import pytest

from services.scheduler.events import (
    ModelGone,
    WorkerGone,
)
from services.scheduler.instructions import (
    Instruction,
    PublishRoute,
    RemoveRoute,
)
from services.scheduler.machine import Machine
from shared.contracts.v1.models import Route
from tests.services.scheduler_house import card, manifest, only


@pytest.fixture
def machine() -> Machine:
    return Machine()


def _route(instructions: list[Instruction]) -> Route:
    [published] = only(PublishRoute, instructions)
    return published.route


@pytest.fixture
def routed(machine: Machine) -> Callable[[], Route]:
    def publish() -> Route:
        machine.handle(card("w1"), 0.0)
        machine.handle(card("g1", "gpu-pocl"), 0.0)
        return _route(machine.handle(manifest(("cpu", 0.004), ("gpu-pocl", 0.001)), 0.0))

    return publish


def test_a_route_orders_classes_by_what_was_measured(routed: Callable[[], Route]) -> None:
    choices = routed().choices["dense"]

    assert [(one.worker_class, one.seconds, one.measured) for one in choices] == [
        ("gpu-pocl", 0.001, True),
        ("cpu", 0.004, True),
    ]
    assert "measured on d 1 ms at batch 1" in choices[0].reason


def test_a_class_that_dies_leaves_the_route(machine: Machine, routed: Callable[[], Route]) -> None:
    routed()

    route = _route(machine.handle(WorkerGone("g1"), 1.0))

    assert [one.worker_class for one in route.choices["dense"]] == ["cpu"]


def test_an_estimate_is_marked_as_one(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)

    [choice] = _route(machine.handle(manifest(), 0.0)).choices["dense"]

    assert not choice.measured
    assert "prior on stated" in choice.reason


def test_a_route_is_published_when_it_changes_and_not_again(
    machine: Machine, routed: Callable[[], Route]
) -> None:
    routed()

    assert machine.handle(manifest(("cpu", 0.004), ("gpu-pocl", 0.001)), 1.0) == []


def test_a_slightly_faster_class_does_not_turn_the_route(
    machine: Machine, routed: Callable[[], Route]
) -> None:
    routed()

    slightly = _route(machine.handle(manifest(("cpu", 0.0009), ("gpu-pocl", 0.001)), 1.0))
    clearly = _route(machine.handle(manifest(("cpu", 0.0008), ("gpu-pocl", 0.001)), 2.0))

    assert slightly.choices["dense"][0].worker_class == "gpu-pocl"
    assert clearly.choices["dense"][0].worker_class == "cpu"


def test_the_route_of_a_removed_model_is_removed(
    machine: Machine, routed: Callable[[], Route]
) -> None:
    routed()

    assert machine.handle(ModelGone("m"), 1.0) == [RemoveRoute("m")]
