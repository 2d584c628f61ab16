"""Workers that vanish, messages that are lost, late or repeated, and successors."""

import pytest

from services.scheduler.events import (
    Arrival,
    Found,
    Frame,
    Looked,
    Tick,
    Unperformed,
    Unreadable,
    WorkerGone,
)
from services.scheduler.instructions import (
    Acknowledge,
    Announce,
    DeadLetter,
    Discard,
    Finish,
    Instruction,
    Look,
    Place,
    Return,
)
from services.scheduler.machine import Machine
from shared.contracts.v1.jobs import (
    JobEvent,
    Status,
)
from tests.services.scheduler_house import (
    SHA,
    beat,
    beats,
    card,
    confirm,
    finished,
    only,
    place,
    submitted,
)

# workers that vanish


def test_the_job_of_a_silent_worker_is_placed_again_at_once(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("w2"), 0.0)
    place(machine, submitted(), sequence=100)
    beats(machine, {"w1": ("default.j1",), "w2": ()}, until=1.0)

    instructions = beats(machine, {"w2": ()}, until=2.6)  # w1 misses three beats of 0.5 s

    [again] = only(Place, instructions)
    assert (again.attempt, again.worker_class, again.replaces) == (2, "cpu", 100)


def test_a_job_that_was_announced_as_started_counts_as_held(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("w2"), 0.0)
    place(machine, submitted())
    machine.handle(JobEvent(job="j1", tenant="default", what="started", at=0.1, worker="w2"), 0.1)

    instructions = beats(machine, {"w2": ("default.j1",)}, until=2.6)  # w1 falls silent

    assert only(Place, instructions) == []


def test_what_nobody_claims_is_placed_again_when_a_worker_of_its_class_vanishes(
    machine: Machine,
) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("w2"), 0.0)
    place(machine, submitted())

    instructions = beats(machine, {"w2": ()}, until=2.6)

    assert [each.attempt for each in only(Place, instructions)] == [2]


def test_a_class_without_workers_gives_its_jobs_to_another(machine: Machine) -> None:
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    place(machine, submitted(), sequence=55)
    machine.handle(card("w1"), 0.1)

    instructions = beats(machine, {"w1": ()}, until=2.0)

    [moved] = only(Place, instructions)
    assert (moved.worker_class, moved.attempt, moved.replaces) == ("cpu", 2, 55)


def test_a_pinned_job_stays_with_its_dead_class(machine: Machine) -> None:
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(card("w1"), 0.0)
    place(machine, submitted(worker_class="gpu-pocl"))

    instructions = beats(machine, {"w1": ()}, until=2.0)

    assert {each.worker_class for each in only(Place, instructions)} <= {"gpu-pocl"}


def test_a_draining_worker_gets_nothing_new_and_keeps_what_it_has(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted())
    machine.handle(beat("w1", "cpu", "default.j1", draining=True), 0.1)
    machine.handle(card("g1", "gpu-pocl"), 0.2)

    instructions = machine.handle(submitted("j2", delivery=2), 0.3)

    assert [each.worker_class for each in only(Place, instructions)] == ["gpu-pocl"]


def test_a_job_that_kills_every_worker_becomes_a_dead_letter(machine: Machine) -> None:
    instructions: list[Instruction] = []
    arrival = submitted()
    for life in range(4):
        worker, now = f"w{life}", 10.0 * life
        told = machine.handle(card(worker), now)
        told += machine.handle(arrival, now) if life == 0 else []
        [placed] = only(Place, told) or only(Place, instructions)
        confirm(machine, placed, now, sequence=life)
        machine.handle(beat(worker, "cpu", "default.j1"), now + 0.5)
        instructions = machine.handle(WorkerGone(worker), now + 1.0)

    [failed] = only(Finish, instructions)
    assert (failed.status, failed.failure.code) == (Status.FAILED, "EL-1301")
    assert failed.letter is not None
    assert (failed.letter.reason, failed.letter.data) == ("attempts", arrival.frame.data)
    assert (failed.letter.code, failed.letter.attempts) == (failed.failure.code, failed.attempt)
    assert failed.letter.subject == "el.v1.run.cpu.operator"


def test_a_scheduler_that_stood_still_blames_no_worker(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted())
    machine.handle(beat("w1", "cpu", "default.j1"), 0.1)
    machine.handle(Tick(), 0.2)

    instructions = machine.handle(Tick(), 30.0)

    assert only(Place, instructions) == []


# repeated, late and lost messages


def test_the_same_submission_again_is_acknowledged_and_nothing_else(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted())

    assert machine.handle(submitted(delivery=2), 1.0) == [Acknowledge(2)]


def test_a_redelivery_of_a_waiting_job_changes_nothing(machine: Machine) -> None:
    machine.handle(submitted(), 0.0)

    assert machine.handle(submitted(), 5.0) == []


def test_an_id_that_comes_with_other_bytes_is_a_dead_letter_and_the_first_stands(
    machine: Machine,
) -> None:
    machine.handle(submitted(), 0.0)

    [letter] = machine.handle(submitted(priority=1, delivery=2), 1.0)

    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.delivery) == ("job_id_reused", 2)
    assert (letter.code, letter.subject) == ("EL-1204", "el.v1.job.default.operator")
    assert machine.unfinished == 1


@pytest.mark.parametrize("ended_here", [True, False])
def test_an_id_is_compared_with_jobs_that_have_ended(machine: Machine, ended_here: bool) -> None:
    first, other = submitted(), submitted(priority=1, delivery=2)
    record = finished("j1", digest=first.frame.digest)
    if ended_here:
        machine.handle(card("w1"), 0.0)
        place(machine, first)
        machine.handle(record, 1.0)
    else:
        other = Arrival(2, other.job, other.frame, record=record)

    [letter] = machine.handle(other, 2.0)

    assert isinstance(letter, DeadLetter)
    assert letter.reason == "job_id_reused"


def test_a_job_that_already_has_its_record_is_only_acknowledged(machine: Machine) -> None:
    arrival = submitted()
    record = finished("j1", digest=arrival.frame.digest)

    instructions = machine.handle(Arrival(1, arrival.job, arrival.frame, record=record), 0.0)

    assert instructions == [Acknowledge(1)]


def test_a_lost_announcement_is_made_up_for_by_reading_the_record(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted(), sequence=9)
    said = beats(machine, {"w1": ()}, until=2.5)
    assert only(Look, said) == [Look("default", "j1", 1, 9)]

    instructions = machine.handle(Looked("default.j1", 1, finished("j1"), queued=False), 2.6)

    assert machine.unfinished == 0
    assert [each.what for each in only(Announce, instructions)] == ["ended"]


def test_an_attempt_that_vanished_from_the_stream_is_placed_again(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted(), sequence=9)

    instructions = machine.handle(Looked("default.j1", 1, None, queued=False), 3.0)

    assert [each.attempt for each in only(Place, instructions)] == [2]


def test_a_late_confirmation_of_an_ended_job_deletes_the_attempt(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    [placed] = only(Place, machine.handle(submitted(), 0.0))
    machine.handle(finished("j1", Status.CANCELLED, worker=""), 0.1)

    assert confirm(machine, placed, 0.2, sequence=9) == [Discard(9)]


def test_a_second_announcement_of_the_same_record_says_nothing(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted())
    machine.handle(finished("j1"), 1.0)

    assert machine.handle(finished("j1"), 1.1) == []


def test_a_refused_placement_is_given_again_as_the_same_attempt(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    [placed] = only(Place, machine.handle(submitted(), 0.0))
    machine.handle(Unperformed(placed, "the stream is full"), 0.1)
    machine.handle(beat("w1"), 0.3)

    assert only(Place, machine.handle(Tick(), 0.7)) == [placed]


def test_a_refused_dead_letter_comes_back_to_be_tried_again(machine: Machine) -> None:
    [letter] = machine.handle(Unreadable(4, "t", "infer", Frame(b"?", SHA), "not a frame"), 0.0)

    assert machine.handle(Unperformed(letter, "away"), 0.1) == [Return(4, 0.5)]


# successors


def test_a_successor_finds_what_was_placed_and_does_not_place_it_again(machine: Machine) -> None:
    arrival = submitted()
    machine.handle(card("w1"), 0.0)
    machine.handle(Found(77, "cpu", 1, arrival.job, arrival.frame), 0.0)

    assert machine.handle(arrival, 0.1) == [Acknowledge(1)]


def test_of_two_attempts_left_behind_the_newer_stands(machine: Machine) -> None:
    arrival = submitted()
    machine.handle(Found(77, "cpu", 1, arrival.job, arrival.frame), 0.0)

    instructions = machine.handle(Found(78, "cpu", 2, arrival.job, arrival.frame), 0.0)

    assert instructions == [Discard(77)]
