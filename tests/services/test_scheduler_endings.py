"""Jobs that cannot or need not run still end with one record."""

from services.scheduler.events import (
    Cancelled,
    Ended,
    Frame,
    Tick,
    Unperformed,
    Unreadable,
    WorkerGone,
)
from services.scheduler.instructions import (
    Acknowledge,
    DeadLetter,
    Finish,
    Place,
    Return,
)
from services.scheduler.machine import Machine
from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import (
    OperatorBody,
    Status,
)
from tests.services.scheduler_house import SHA, card, finished, only, place, submitted


def nonsense(job: str) -> Unreadable:
    """A frame of tenant `default` that has an id and is no job."""
    return Unreadable(9, "default", "operator", Frame(b"{}", SHA), "body: missing", job=job)


def test_a_frame_that_names_no_job_is_a_dead_letter(machine: Machine) -> None:
    [letter] = machine.handle(Unreadable(4, "t", "infer", Frame(b"?", SHA), "not a frame"), 0.0)

    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.message, letter.delivery) == ("malformed", "not a frame", 4)


def test_a_broken_job_with_a_readable_id_gets_a_record_too(machine: Machine) -> None:
    event = Unreadable(4, "t", "infer", Frame(b"{}", SHA), "body: missing", job="j9")

    [failed] = machine.handle(event, 0.0)

    assert isinstance(failed, Finish)
    assert (failed.tenant, failed.job, failed.status) == ("t", "j9", Status.FAILED)
    assert failed.failure.code == "EL-1101"
    assert failed.letter is not None


def test_nonsense_under_the_id_of_a_waiting_job_is_only_a_dead_letter(machine: Machine) -> None:
    machine.handle(submitted("j1", delivery=1), 0.0)

    [letter] = machine.handle(nonsense("j1"), 0.1)

    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.delivery) == ("malformed", 9)
    assert len(only(Place, machine.handle(card("w1"), 0.2))) == 1


def test_nonsense_under_the_id_of_a_running_job_is_only_a_dead_letter(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted("j1", delivery=1))

    [letter] = machine.handle(nonsense("j1"), 0.1)

    assert isinstance(letter, DeadLetter)
    assert machine.unfinished == 1


def test_nonsense_under_the_id_of_another_tenants_job_is_answered(machine: Machine) -> None:
    machine.handle(submitted("j1", delivery=1, tenant="other"), 0.0)

    [failed] = machine.handle(nonsense("j1"), 0.1)

    assert isinstance(failed, Finish)
    assert failed.tenant == "default"


def test_an_answer_to_nonsense_that_was_refused_comes_back_though_a_job_came(
    machine: Machine,
) -> None:
    [failed] = machine.handle(nonsense("j1"), 0.0)
    machine.handle(submitted("j1", delivery=10), 0.1)

    assert machine.handle(Unperformed(failed, "away"), 0.2) == [Return(9, 0.5)]


def test_a_job_that_comes_too_late_expires_without_running(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)

    instructions = machine.handle(submitted(deadline=5.0), 6.0)

    [expired] = only(Finish, instructions)
    assert (expired.status, expired.failure.code) == (Status.EXPIRED, "EL-1206")
    assert only(Place, instructions) == []


def test_a_waiting_job_expires_at_its_deadline(machine: Machine) -> None:
    machine.handle(submitted(deadline=5.0), 0.0)
    assert only(Finish, machine.handle(Tick(), 4.9)) == []

    [expired] = only(Finish, machine.handle(Tick(), 5.0))

    assert (expired.status, expired.delivery) == (Status.EXPIRED, 1)


def test_a_cancelled_job_is_ended_wherever_it_is(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted("placed", delivery=1), sequence=31)
    machine.handle(submitted("waiting", worker_class="nowhere", delivery=2), 0.0)

    ended = [
        only(Finish, machine.handle(Cancelled("default", job), 1.0))[0]
        for job in ("placed", "waiting")
    ]

    assert [(each.status, each.queued, each.delivery) for each in ended] == [
        (Status.CANCELLED, 31, None),
        (Status.CANCELLED, None, 2),
    ]


def test_cancelling_a_job_of_another_tenant_does_nothing(machine: Machine) -> None:
    machine.handle(submitted(tenant="a"), 0.0)

    assert machine.handle(Cancelled("b", "j1"), 1.0) == []


def test_a_record_written_by_the_gateway_drops_a_waiting_job(machine: Machine) -> None:
    machine.handle(submitted(), 0.0)

    instructions = machine.handle(finished("j1", Status.CANCELLED, worker=""), 1.0)

    assert only(Acknowledge, instructions) == [Acknowledge(1)]
    assert machine.unfinished == 0


def test_a_job_for_a_class_that_never_existed_fails_after_patience() -> None:
    machine = Machine(Policy(patience=10.0))
    machine.handle(submitted(worker_class="gpu-typo"), 0.0)
    assert only(Finish, machine.handle(Tick(), 9.0)) == []

    [failed] = only(Finish, machine.handle(Tick(), 11.0))

    assert (failed.failure.code, failed.failure.retryable) == ("EL-1208", True)


def test_a_job_waits_for_its_class_to_come_back_however_long() -> None:
    machine = Machine(Policy(patience=10.0))
    machine.handle(card("w1"), 0.0)
    machine.handle(WorkerGone("w1"), 1.0)
    machine.handle(submitted(), 2.0)

    assert only(Finish, machine.handle(Tick(), 1000.0)) == []


def test_an_operator_that_nobody_knows_fails_at_once_with_the_nearest_names(
    machine: Machine,
) -> None:
    machine.handle(card("w1", operators=("relu",)), 0.0)

    [failed] = only(Finish, machine.handle(submitted(body=OperatorBody(operator="gem_f32")), 0.0))

    assert failed.failure.code == "EL-1105"
    assert failed.failure.message == "no operator gem_f32; did you mean gemm_f32?"
    assert failed.letter is None


def test_an_operator_of_no_catalogue_that_a_card_names_is_placed(machine: Machine) -> None:
    machine.handle(card("w1", operators=("relu", "wavelet")), 0.0)

    placed = only(Place, machine.handle(submitted(body=OperatorBody(operator="wavelet")), 0.0))
    [failed] = only(
        Finish, machine.handle(submitted("j2", body=OperatorBody(operator="wavelets")), 0.0)
    )

    assert [each.worker_class for each in placed] == ["cpu"]
    assert failed.failure.message == "no operator wavelets; did you mean wavelet?"


def test_a_catalogued_operator_waits_for_a_worker_that_has_it(machine: Machine) -> None:
    machine.handle(card("w1", operators=("relu",)), 0.0)

    answer = machine.handle(submitted(body=OperatorBody(operator="gemm_f32")), 0.0)

    assert only(Finish, answer) == only(Place, answer) == []


def test_a_finish_is_final_only_when_the_record_is_written(machine: Machine) -> None:
    machine.handle(submitted(deadline=5.0), 0.0)
    [expired] = only(Finish, machine.handle(Tick(), 5.0))
    machine.handle(Unperformed(expired, "away"), 5.1)
    assert machine.unfinished == 1
    assert only(Finish, machine.handle(Tick(), 5.7)) == [expired]

    machine.handle(Ended("default.j1"), 5.8)

    assert machine.unfinished == 0
