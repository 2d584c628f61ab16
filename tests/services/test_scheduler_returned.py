"""Jobs that a worker gave back because its device failed go to another class, if one can."""

import pytest

from services.scheduler.instructions import Place
from services.scheduler.machine import Machine
from shared.contracts.v1.jobs import JobEvent
from tests.services.scheduler_house import beat, card, only, place, submitted


@pytest.fixture
def machine() -> Machine:
    """One card and one CPU worker, with a job that was placed on the card."""
    machine = Machine()
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    place(machine, submitted(), sequence=100)
    machine.handle(card("w1", "cpu"), 0.1)
    return machine


def returned(worker_class: str) -> JobEvent:
    return JobEvent(
        job="j1", tenant="default", what="returned", at=0.2, worker_class=worker_class, attempt=1
    )


def test_a_returned_job_is_placed_on_another_class_and_replaces_its_attempt(
    machine: Machine,
) -> None:
    instructions = machine.handle(returned("gpu-pocl"), 0.2)

    [again] = only(Place, instructions)
    assert (again.worker_class, again.attempt, again.replaces) == ("cpu", 2, 100)


def test_the_word_of_a_class_that_does_not_have_the_job_changes_nothing(machine: Machine) -> None:
    assert machine.handle(returned("gpu-nvidia"), 0.2) == []


def test_a_returned_job_stays_with_the_only_class_there_is() -> None:
    machine = Machine()
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    place(machine, submitted(), sequence=100)

    assert machine.handle(returned("gpu-pocl"), 0.2) == []


def test_a_pinned_job_stays_where_its_client_wants_it(machine: Machine) -> None:
    place(machine, submitted("j2", delivery=2, worker_class="gpu-pocl"), sequence=101)
    event = returned("gpu-pocl").model_copy(update={"job": "j2"})

    assert machine.handle(event, 0.2) == []


def test_what_a_worker_lets_go_while_its_device_is_away_moves_to_another_class(
    machine: Machine,
) -> None:
    machine.handle(beat("g1", "gpu-pocl", "default.j1"), 0.2)
    held = machine.handle(beat("g1", "gpu-pocl", "default.j1", draining=True), 0.3)

    let_go = machine.handle(beat("g1", "gpu-pocl", draining=True), 0.4)

    assert only(Place, held) == []
    [again] = only(Place, let_go)
    assert (again.worker_class, again.replaces) == ("cpu", 100)
