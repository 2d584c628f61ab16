"""The scheduler's decisions: messages in, instructions out."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.scheduler.demand import Demand
from services.scheduler.events import (
    Arrival,
    Backlog,
    Cancelled,
    Ended,
    Found,
    Frame,
    Looked,
    ModelGone,
    Placed,
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
    PublishRoute,
    RemoveRoute,
    Return,
)
from services.scheduler.machine import Machine
from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import (
    BlobRef,
    Body,
    CompressBody,
    InferBody,
    JobEvent,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    Status,
)
from shared.contracts.v1.models import Latency, ModelManifest, PortSignature, Route, Variant
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, Measure, WorkerCard
from shared.operators.spec import Cost
from shared.placement.cost import StepWork, Work

RELU = OperatorBody(operator="relu")
COMPUTE = ("infer", "operator")
SHA = "a" * 64


@pytest.fixture
def machine() -> Machine:
    return Machine(Policy())


def submitted(
    job: str = "j1", *, body: Body = RELU, delivery: int = 1, **fields: object
) -> Arrival:
    message = JobSubmitted(job=job, body=body, **fields)
    data = message.encode()
    return Arrival(delivery, message, Frame(data, hashlib.sha256(data).hexdigest()))


def card(worker: str, worker_class: str = "cpu", *, slots: int = 1, **fields: object) -> WorkerCard:
    whole = {"kinds": COMPUTE, "service": "test", "pid": 1} | fields
    return WorkerCard(worker=worker, worker_class=worker_class, slots=slots, **whole)


def beat(worker: str, worker_class: str = "cpu", *running: str, **fields: object) -> Heartbeat:
    whole = {"slots": 1, "free": 0} | fields
    return Heartbeat(worker=worker, worker_class=worker_class, running=running, **whole)


def finished(job: str, status: Status = Status.SUCCEEDED, **fields: object) -> JobFinished:
    whole = {"tenant": "default", "kind": "operator", "worker": "w"} | fields
    return JobFinished(job=job, status=status, **whole)


def profile(worker_class: str, rate: float) -> DeviceProfile:
    """Every figure at `rate` per second; a launch takes a microsecond."""
    per_second = Measure(median=rate, low=rate, high=rate, samples=9)
    launch = Measure(median=1e-6, low=1e-6, high=1e-6, samples=9)
    return DeviceProfile(
        worker_class=worker_class,
        worker="w",
        device=f"a {worker_class}",
        driver="d",
        measured_at=0.0,
        copy_bandwidth=per_second,
        gemm_rate=per_second,
        spmm_rate=per_second,
        launch=launch,
        upload_bandwidth=per_second,
        download_bandwidth=per_second,
    )


def manifest(*latencies: tuple[str, float]) -> ModelManifest:
    variant = Variant(
        name="dense",
        artifact=BlobRef(sha256=SHA, size=4_000_000),
        weight_bytes=4_000_000,
        latencies=tuple(
            Latency(worker_class=name, device="d", batch=1, p50=p50, p99=p50, samples=50)
            for name, p50 in latencies
        ),
    )
    port = PortSignature(name="x", dtype="f32", shape=(-1, 4))
    return ModelManifest(model="m", inputs=(port,), outputs=(port,), variants=(variant,))


def only(kind: type[Instruction], instructions: list[Instruction]) -> list[Instruction]:
    return [each for each in instructions if isinstance(each, kind)]


def place(machine: Machine, event: Arrival, now: float = 0.0, *, sequence: int = 100) -> Place:
    """Submit, and confirm the placement that must follow."""
    [placed] = only(Place, machine.handle(event, now))
    confirm(machine, placed, now, sequence=sequence)
    return placed


def confirm(machine: Machine, placed: Place, now: float, *, sequence: int) -> list[Instruction]:
    key = f"{placed.tenant}.{placed.job}"
    return machine.handle(Placed(key, placed.attempt, sequence), now)


# acceptance and placement


def test_a_job_is_placed_on_the_class_that_lives(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    arrival = submitted()

    instructions = machine.handle(arrival, 0.0)

    accepted, placed = instructions
    assert accepted == Announce("default", "j1", "accepted", digest=arrival.frame.digest)
    assert replace(placed, reason=str(placed.reason)) == Place(
        tenant="default",
        job="j1",
        kind="operator",
        worker_class="cpu",
        attempt=1,
        digest=arrival.frame.digest,
        data=arrival.frame.data,
        reason="cpu ends in 1e+03 ms (prior); no rival",
        delivery=1,
        replaces=None,
    )


def test_a_job_waits_until_a_worker_comes(machine: Machine) -> None:
    assert only(Place, machine.handle(submitted(), 0.0)) == []

    instructions = machine.handle(card("w1"), 1.0)

    assert [each.worker_class for each in only(Place, instructions)] == ["cpu"]


def test_a_class_gets_two_jobs_per_slot_and_the_rest_stays_orderable(machine: Machine) -> None:
    machine.handle(card("w1", slots=2), 0.0)

    placed = [machine.handle(submitted(f"j{i}", delivery=i), 0.0) for i in range(6)]

    assert [len(only(Place, each)) for each in placed] == [1, 1, 1, 1, 0, 0]


def test_a_placement_is_announced_and_frees_the_window_once_it_is_stored(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    [placed] = only(Place, machine.handle(submitted(), 0.0))
    assert machine.held == 1

    instructions = confirm(machine, placed, 0.1, sequence=7)

    assert machine.held == 0
    [told] = instructions
    assert (told.what, told.worker_class, told.attempt) == ("placed", "cpu", 1)


def test_a_record_makes_room_for_the_next_job(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    for number in range(3):
        machine.handle(submitted(f"j{number}", delivery=number), 0.0)

    instructions = machine.handle(finished("j0"), 1.0)

    assert [each.job for each in only(Place, instructions)] == ["j2"]
    assert [each.what for each in only(Announce, instructions)] == ["ended"]


def test_a_pinned_job_waits_for_its_class_though_another_is_idle(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)

    assert only(Place, machine.handle(submitted(worker_class="gpu-pocl"), 0.0)) == []

    [placed] = only(Place, machine.handle(card("g1", "gpu-pocl"), 1.0))
    assert placed.worker_class == "gpu-pocl"
    assert str(placed.reason) == "gpu-pocl: the job is pinned to it"


def test_work_of_services_goes_to_their_class(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("c1", "compressor", kinds=("import", "compress")), 0.0)
    body = CompressBody(model="m", method="int8")

    [placed] = only(Place, machine.handle(submitted(body=body), 0.0))

    assert placed.worker_class == "compressor"


def test_a_job_pinned_to_a_class_that_cannot_do_it_fails_at_once(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    body = CompressBody(model="m", method="int8")

    [refused] = only(Finish, machine.handle(submitted(body=body, worker_class="cpu"), 0.0))

    assert refused.failure.code == "EL-1101"
    assert "cpu takes infer, operator" in refused.failure.message


def test_the_faster_profile_wins_and_the_reason_says_by_how_much(machine: Machine) -> None:
    for name, rate in (("cpu", 1e9), ("gpu-pocl", 4e9)):
        machine.handle(card(f"{name}1", name), 0.0)
        machine.handle(profile(name, rate), 0.0)
    demand = Demand(Work((StepWork(Cost(flops=4e6, bytes=1e3)),)))
    arrival = submitted()

    [placed] = only(
        Place,
        machine.handle(Arrival(1, arrival.job, arrival.frame, demand), 0.0),
    )

    # 4e6 flop at 4e9 flop/s and at 1e9 flop/s, each with one microsecond of launch
    assert str(placed.reason) == "gpu-pocl ends in 1 ms (modelled); next cpu in 4 ms (modelled)"


def test_nobody_trusts_a_device_that_was_never_measured(machine: Machine) -> None:
    machine.handle(card("g1", "gpu-gfx803"), 0.0)
    machine.handle(card("w1"), 0.0)

    [placed] = only(Place, machine.handle(submitted(), 0.0))

    assert placed.worker_class == "cpu"


def test_an_inference_goes_where_it_was_measured_to_be_fastest(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(manifest(("cpu", 0.004), ("gpu-pocl", 0.001)), 0.0)

    [placed] = only(Place, machine.handle(submitted(body=InferBody(model="m")), 0.0))

    assert str(placed.reason) == "gpu-pocl ends in 1 ms (measured); next cpu in 4 ms (measured)"


def test_a_full_fast_class_is_worth_waiting_for(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(manifest(("cpu", 1.0), ("gpu-pocl", 0.001)), 0.0)

    placed = [
        machine.handle(submitted(f"j{i}", body=InferBody(model="m"), delivery=i), 0.0)
        for i in range(3)
    ]

    assert [[x.worker_class for x in only(Place, each)] for each in placed] == [
        ["gpu-pocl"],
        ["gpu-pocl"],
        [],
    ]


# order


def test_tenants_take_turns_however_much_one_of_them_asks(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    for number in range(20):
        machine.handle(submitted(f"a{number}", tenant="a", delivery=number), 0.0)
    for number in range(4):
        machine.handle(submitted(f"b{number}", tenant="b", delivery=100 + number), 0.0)

    order = _drain(machine, first=[("a", "a0"), ("a", "a1")], count=8)

    assert sum(tenant == "b" for tenant, _ in order) == 4


def test_urgent_goes_before_ordinary_and_the_nearer_deadline_before_the_later(
    machine: Machine,
) -> None:
    machine.handle(card("w1"), 0.0)
    for number in range(2):
        machine.handle(submitted(f"first{number}", delivery=number), 0.0)
    machine.handle(submitted("ordinary", delivery=3), 0.0)
    machine.handle(submitted("later", deadline=500.0, delivery=4), 0.0)
    machine.handle(submitted("sooner", deadline=400.0, delivery=5), 0.0)
    machine.handle(submitted("urgent", priority=0, delivery=6), 0.0)

    order = _drain(machine, first=[("default", "first0"), ("default", "first1")], count=4)

    assert [job for _, job in order] == ["urgent", "sooner", "later", "ordinary"]


def test_waiting_makes_a_job_urgent() -> None:
    machine = Machine(Policy(ageing=1.0))
    machine.handle(card("w1"), 0.0)
    for number in range(2):
        machine.handle(submitted(f"first{number}", delivery=number), 0.0)
    machine.handle(submitted("old", priority=9, delivery=3), 0.0)
    machine.handle(submitted("new", priority=0, delivery=4), 9.5)

    order = _drain(machine, first=[("default", "first0"), ("default", "first1")], count=2)

    # both are of level 9: 9 + 0 s and 0 + 9 s; the one that came first goes first
    assert [job for _, job in order] == ["old", "new"]


def _drain(machine: Machine, *, first: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """End placed jobs one by one; returns who was placed next, in order."""
    placed, order = list(first), []
    while len(order) < count:
        tenant, job = placed.pop(0)
        ended = finished(job, tenant=tenant)
        for each in only(Place, machine.handle(ended, 10.0)):
            placed.append((each.tenant, each.job))
            order.append((each.tenant, each.job))
    return order


# workers that vanish


def test_the_job_of_a_silent_worker_is_placed_again_at_once(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("w2"), 0.0)
    place(machine, submitted(), sequence=100)
    _beats(machine, {"w1": ("default.j1",), "w2": ()}, until=1.0)

    instructions = _beats(machine, {"w2": ()}, until=2.6)  # w1 misses three beats of 0.5 s

    [again] = only(Place, instructions)
    assert (again.attempt, again.worker_class, again.replaces) == (2, "cpu", 100)


def test_a_job_that_was_announced_as_started_counts_as_held(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("w2"), 0.0)
    place(machine, submitted())
    machine.handle(JobEvent(job="j1", tenant="default", what="started", at=0.1, worker="w2"), 0.1)

    instructions = _beats(machine, {"w2": ("default.j1",)}, until=2.6)  # w1 falls silent

    assert only(Place, instructions) == []


def test_what_nobody_claims_is_placed_again_when_a_worker_of_its_class_vanishes(
    machine: Machine,
) -> None:
    machine.handle(card("w1"), 0.0)
    machine.handle(card("w2"), 0.0)
    place(machine, submitted())

    instructions = _beats(machine, {"w2": ()}, until=2.6)

    assert [each.attempt for each in only(Place, instructions)] == [2]


def test_a_class_without_workers_gives_its_jobs_to_another(machine: Machine) -> None:
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    place(machine, submitted(), sequence=55)
    machine.handle(card("w1"), 0.1)

    instructions = _beats(machine, {"w1": ()}, until=2.0)

    [moved] = only(Place, instructions)
    assert (moved.worker_class, moved.attempt, moved.replaces) == ("cpu", 2, 55)


def test_a_pinned_job_stays_with_its_dead_class(machine: Machine) -> None:
    machine.handle(card("g1", "gpu-pocl"), 0.0)
    machine.handle(card("w1"), 0.0)
    place(machine, submitted(worker_class="gpu-pocl"))

    instructions = _beats(machine, {"w1": ()}, until=2.0)

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


def test_a_scheduler_that_stood_still_blames_no_worker(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    place(machine, submitted())
    machine.handle(beat("w1", "cpu", "default.j1"), 0.1)
    machine.handle(Tick(), 0.2)

    instructions = machine.handle(Tick(), 30.0)

    assert only(Place, instructions) == []


def _beats(
    machine: Machine, workers: dict[str, tuple[str, ...]], *, until: float
) -> list[Instruction]:
    """Heartbeats twice a second and ticks from 0.5 s on; returns what the machine said."""
    said: list[Instruction] = []
    for step in range(1, round(until / 0.1) + 1):
        now = step * 0.1
        if step % 5 == 0:
            for worker, running in workers.items():
                said += machine.handle(beat(worker, "cpu", *running), now)
        said += machine.handle(Tick(), now)
    return said


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
    said = _beats(machine, {"w1": ()}, until=2.5)
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


# what cannot or need not run


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


def test_a_finish_is_final_only_when_the_record_is_written(machine: Machine) -> None:
    machine.handle(submitted(deadline=5.0), 0.0)
    [expired] = only(Finish, machine.handle(Tick(), 5.0))
    machine.handle(Unperformed(expired, "away"), 5.1)
    assert machine.unfinished == 1
    assert only(Finish, machine.handle(Tick(), 5.7)) == [expired]

    machine.handle(Ended("default.j1"), 5.8)

    assert machine.unfinished == 0


# the window


def test_a_full_window_gives_back_the_newest_jobs_of_the_greedy() -> None:
    machine = Machine(Policy(window=8, return_delay=1.0))
    for number in range(8):
        machine.handle(submitted(f"j{number}", delivery=number), 0.0)
    machine.handle(Backlog(10), 0.1)

    instructions = machine.handle(Tick(), 1.0)

    # a lone tenant may keep half of 8; at most a quarter leaves in one round
    assert [each.delivery for each in only(Return, instructions)] == [7, 6]
    assert machine.room == 2


def test_nothing_is_given_back_while_nobody_else_waits() -> None:
    machine = Machine(Policy(window=8))
    for number in range(8):
        machine.handle(submitted(f"j{number}", delivery=number), 0.0)

    assert only(Return, machine.handle(Tick(), 1.0)) == []


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


# routes


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
