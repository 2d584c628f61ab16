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
from shared.placement import assign
from tests.services.scheduler_house import card, manifest, only, profile


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
    assert [one.reason for one in choices] == [
        "gpu-pocl 1 ms at batch 1, measured on d; next cpu with 4 ms (measured)",
        "cpu 4 ms at batch 1, measured on d; behind gpu-pocl with 1 ms (measured)",
    ]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1.0, "1000 ms"),
        (12.345, "12300 ms"),
        (0.0021449, "2.14 ms"),
        (1e-9, "0.000001 ms"),
        (0.0, "0 ms"),
    ],
)
def test_milliseconds_have_three_digits_and_no_exponent(seconds: float, told: str) -> None:
    assert assign.ms(seconds) == told


def test_a_class_that_dies_leaves_the_route(machine: Machine, routed: Callable[[], Route]) -> None:
    routed()

    route = _route(machine.handle(WorkerGone("g1"), 1.0))

    assert [one.worker_class for one in route.choices["dense"]] == ["cpu"]


def test_an_estimate_is_marked_as_one(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)

    [choice] = _route(machine.handle(manifest(), 0.0)).choices["dense"]

    assert not choice.measured
    assert "prior on stated" in choice.reason


def test_an_untraced_variant_is_a_guess_where_it_was_not_timed(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(profile("gpu-pocl", 1e12), 0.0)  # its weights alone would take 5 us

    first, second = _route(machine.handle(manifest(("cpu", 0.004)), 0.0)).choices["dense"]

    assert [first.worker_class, second.worker_class] == ["cpu", "gpu-pocl"]
    assert "prior on a gpu-pocl" in second.reason
    assert "from its weights alone" in second.reason


def test_a_calculation_does_not_win_over_a_measurement_by_a_hair(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(profile("gpu-pocl", 1e9), 0.0)

    model = manifest(("cpu", 0.113e-3), flops=110e3)
    first, second = _route(machine.handle(model, 0.0)).choices["dense"]

    # 110e3 flop / 1e9 flop/s and a launch of 1 us are 0.111 ms, with the margin 0.131 ms
    assert (first.worker_class, first.seconds, first.measured) == ("cpu", 0.113e-3, True)
    assert (second.worker_class, second.seconds) == ("gpu-pocl", pytest.approx(0.111e-3))
    assert first.reason == (
        "cpu 0.113 ms at batch 1, measured on d; next gpu-pocl with 0.111 ms (modelled,"
        " judged by its bound of 0.131 ms)"
    )


def test_a_calculation_that_promises_a_clear_gain_is_followed(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(profile("gpu-pocl", 1e9), 0.0)

    first, _ = _route(machine.handle(manifest(("cpu", 0.113e-3), flops=80e3), 0.0)).choices["dense"]

    assert first.worker_class == "gpu-pocl"  # 0.081 ms, with the margin 0.095 ms


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
