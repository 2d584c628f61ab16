"""The scheduler's decisions: what is placed where, in which order, and what waits."""

from dataclasses import replace

from services.scheduler.demand import Demand
from services.scheduler.events import (
    Arrival,
    Backlog,
    Tick,
)
from services.scheduler.instructions import (
    Announce,
    Finish,
    Place,
    Return,
)
from services.scheduler.machine import Machine
from services.scheduler.policy import Policy
from shared.contracts.v1.jobs import (
    CompressBody,
    InferBody,
)
from shared.operators.spec import Cost
from shared.placement.cost import StepWork, Work
from tests.services.scheduler_house import (
    card,
    confirm,
    finished,
    manifest,
    only,
    profile,
    submitted,
)

# acceptance and placement


def test_a_job_is_placed_on_the_class_that_lives(machine: Machine) -> None:
    machine.handle(card("w1"), 0.0)
    arrival = submitted()

    instructions = machine.handle(arrival, 0.0)

    accepted, placed = instructions
    assert accepted == Announce(
        "default", "j1", "accepted", digest=arrival.frame.digest, kind="operator", sequence=1
    )
    assert replace(placed, reason=str(placed.reason)) == Place(
        tenant="default",
        job="j1",
        kind="operator",
        worker_class="cpu",
        attempt=1,
        digest=arrival.frame.digest,
        data=arrival.frame.data,
        reason="cpu ends in 1000 ms (prior); no rival",
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
    assert str(placed.reason) == (
        "gpu-pocl ends in 1 ms (modelled, judged by its bound of 1.18 ms);"
        " next cpu in 4 ms (modelled, judged by its bound of 4.71 ms)"
    )


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
