"""Which class, and why."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shared.placement import assign
from shared.placement.assign import SPILL, Candidate
from shared.placement.hardware import Source


def modelled(worker_class: str, seconds: float, *, high: float | None = None) -> Candidate:
    return assign.expected(worker_class, seconds, high=high or seconds, source=Source.MODELLED)


CPU = modelled("cpu", 4e-3)
POCL = assign.measured("gpu-pocl", 1e-3)
GUESS = assign.expected("gpu-gfx803", 1e-5, high=1e-4, source=Source.PRIOR)


def test_faster_goes_first_and_a_guess_goes_last() -> None:
    assert assign.order([GUESS, CPU, POCL]) == [POCL, CPU, GUESS]


def test_the_cpu_is_trusted_without_a_measurement() -> None:
    unmeasured = assign.expected("cpu", 1.0, high=2.0, source=Source.PRIOR)

    assert assign.order([GUESS, unmeasured]) == [unmeasured, GUESS]


def test_of_equals_the_cpu_goes_first() -> None:
    tied = modelled("gpu-pocl", CPU.seconds)

    assert assign.order([tied, CPU]) == [CPU, tied]


def test_a_standing_class_is_left_only_for_a_clear_gain() -> None:
    cpu = assign.measured("cpu", 4e-3)
    slightly = assign.measured("gpu-pocl", 3.6e-3)  # 10 % faster
    clearly = assign.measured("gpu-pocl", 3.2e-3)  # 20 % faster

    assert assign.order([slightly, cpu], standing="cpu")[0] is cpu
    assert assign.order([clearly, cpu], standing="cpu")[0] is clearly


def test_a_calculation_wins_over_a_measurement_only_by_its_upper_end_and_a_clear_gain() -> None:
    cpu = assign.measured("cpu", 4e-3)
    hair = modelled("gpu-pocl", 3.9e-3)
    wide = modelled("gpu-pocl", 1e-3, high=3.5e-3)  # at its worst 12 % faster
    clear = modelled("gpu-pocl", 3e-3, high=3.3e-3)  # at its worst 17 % faster

    assert assign.order([hair, cpu])[0] is cpu
    assert assign.order([wide, cpu], standing="cpu")[0] is cpu
    assert assign.order([clear, cpu], standing="cpu")[0] is clear


def test_a_measurement_unseats_a_standing_calculation_without_a_margin() -> None:
    cpu = assign.measured("cpu", 4e-3)
    standing = modelled("gpu-pocl", 3.9e-3)

    assert assign.order([standing, cpu], standing="gpu-pocl")[0] is cpu


def test_work_goes_by_the_bound_as_well() -> None:
    cpu, hair = assign.measured("cpu", 4e-3), modelled("gpu-pocl", 3.9e-3)
    waits = {"cpu": 0.0, "gpu-pocl": 0.0}

    assert assign.choose(assign.order([hair, cpu]), waits, set(waits)) is cpu
    assert assign.choose([cpu, hair], waits | {"cpu": 1e-3}, set(waits)) is hair  # 5 against 4.6 ms


def test_a_standing_guess_yields_to_a_measurement() -> None:
    assert assign.order([GUESS, POCL], standing="gpu-gfx803")[0] is POCL


def test_the_class_that_ends_first_is_chosen_queue_included() -> None:
    chosen = assign.choose([POCL, CPU], {"cpu": 0.0, "gpu-pocl": 5e-3}, {"cpu", "gpu-pocl"})

    assert chosen is CPU  # 4.7 ms at most against 5 + 1 ms


def test_a_full_class_that_would_still_be_sooner_is_waited_for() -> None:
    waits = {"cpu": 0.0, "gpu-pocl": 2e-3}

    assert assign.choose([POCL, CPU], waits, {"cpu"}) is None  # 2 + 1 ms against 4.7 ms


def test_a_long_backlog_makes_a_slower_class_worth_using() -> None:
    waits = {"cpu": 0.0, "gpu-pocl": 2e-3}

    assert assign.choose([POCL, CPU], waits, {"cpu"}, backlog=2e-3) is CPU  # 4.7 in 3 + 2 ms


def test_a_class_too_slow_to_help_is_not_used_however_much_waits() -> None:
    crawling = modelled("cpu", 2 * SPILL * POCL.seconds)
    waits = {"cpu": 0.0, "gpu-pocl": 2e-3}

    assert assign.choose([POCL, crawling], waits, {"cpu"}, backlog=60.0) is None


def test_a_guessed_class_only_relieves() -> None:
    waits = {"cpu": 0.1, "gpu-gfx803": 0.0}

    assert assign.choose([CPU, GUESS], waits, {"gpu-gfx803"}) is None
    assert assign.choose([CPU, GUESS], waits, {"gpu-gfx803"}, backlog=1.0) is GUESS
    assert assign.choose([CPU, GUESS], waits, {"cpu", "gpu-gfx803"}) is CPU


def test_a_class_without_workers_is_no_choice() -> None:
    assert assign.choose([POCL, CPU], {"cpu": 0.0}, {"cpu"}) is CPU
    assert assign.choose([POCL, CPU], {}, set()) is None


def test_the_reason_holds_the_numbers_of_both_and_the_bound_that_decided() -> None:
    told = assign.reason(CPU, [CPU, POCL], {"gpu-pocl": 5e-3})

    # 4 ms / 0.85
    assert str(told) == (
        "cpu ends in 4 ms (modelled, judged by its bound of 4.71 ms);"
        " next gpu-pocl in 6 ms with 5 ms of queue (measured)"
    )
    assert str(assign.reason(CPU, [CPU])) == "cpu ends in 4 ms (modelled); no rival"


@given(
    seconds=st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=5),
    waits=st.lists(st.floats(0.0, 10.0), min_size=5, max_size=5),
    full=st.sets(st.integers(0, 4)),
)
def test_what_is_chosen_has_room_and_no_class_with_room_ends_sooner(
    seconds: list[float], waits: list[float], full: set[int]
) -> None:
    names = [f"c{place}" for place in range(len(seconds))]
    candidates = [assign.measured(name, each) for name, each in zip(names, seconds, strict=True)]
    queue = dict(zip(names, itertools.islice(waits, len(names)), strict=True))
    room = {name for place, name in enumerate(names) if place not in full}

    chosen = assign.choose(assign.order(candidates), queue, room)

    if chosen is not None:
        finish = {one.worker_class: queue[one.worker_class] + one.seconds for one in candidates}
        assert chosen.worker_class in room
        assert finish[chosen.worker_class] == min(finish[name] for name in room)
