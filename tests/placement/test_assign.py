"""Which class, and why."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shared.placement import assign
from shared.placement.assign import SPILL, Candidate
from shared.placement.hardware import Source

CPU = Candidate("cpu", 4e-3, Source.MODELLED)
POCL = Candidate("gpu-pocl", 1e-3, Source.MEASURED)
GUESS = Candidate("gpu-gfx803", 1e-5, Source.PRIOR)


def test_faster_goes_first_and_a_guess_goes_last() -> None:
    assert assign.order([GUESS, CPU, POCL]) == [POCL, CPU, GUESS]


def test_the_cpu_is_trusted_without_a_measurement() -> None:
    unmeasured = Candidate("cpu", 1.0, Source.PRIOR)

    assert assign.order([GUESS, unmeasured]) == [unmeasured, GUESS]


def test_of_equals_the_cpu_goes_first() -> None:
    tied = Candidate("gpu-pocl", CPU.seconds, Source.MODELLED)

    assert assign.order([tied, CPU]) == [CPU, tied]


def test_a_standing_class_is_left_only_for_a_clear_gain() -> None:
    slightly = Candidate("gpu-pocl", 0.9 * CPU.seconds, Source.MEASURED)  # 10 % faster
    clearly = Candidate("gpu-pocl", 0.8 * CPU.seconds, Source.MEASURED)  # 20 % faster

    assert assign.order([slightly, CPU], standing="cpu")[0] is CPU
    assert assign.order([clearly, CPU], standing="cpu")[0] is clearly


def test_a_standing_guess_yields_to_a_measurement() -> None:
    assert assign.order([GUESS, POCL], standing="gpu-gfx803")[0] is POCL


def test_the_class_that_ends_first_is_chosen_queue_included() -> None:
    chosen = assign.choose([POCL, CPU], {"cpu": 0.0, "gpu-pocl": 5e-3}, {"cpu", "gpu-pocl"})

    assert chosen is CPU  # 4 ms against 5 + 1 ms


def test_a_full_class_that_would_still_be_sooner_is_waited_for() -> None:
    waits = {"cpu": 0.0, "gpu-pocl": 2e-3}

    assert assign.choose([POCL, CPU], waits, {"cpu"}) is None  # 2 + 1 ms against 4 ms


def test_a_long_backlog_makes_a_slower_class_worth_using() -> None:
    waits = {"cpu": 0.0, "gpu-pocl": 2e-3}

    assert assign.choose([POCL, CPU], waits, {"cpu"}, backlog=2e-3) is CPU  # 4 ms in 3 + 2 ms


def test_a_class_too_slow_to_help_is_not_used_however_much_waits() -> None:
    crawling = Candidate("cpu", 2 * SPILL * POCL.seconds, Source.MODELLED)
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


def test_the_reason_holds_the_numbers_of_both() -> None:
    told = assign.reason(CPU, [CPU, POCL], {"gpu-pocl": 5e-3})

    assert str(told) == (
        "cpu ends in 4 ms (modelled); next gpu-pocl in 6 ms with 5 ms of queue (measured)"
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
    candidates = [
        Candidate(name, each, Source.MEASURED) for name, each in zip(names, seconds, strict=True)
    ]
    queue = dict(zip(names, itertools.islice(waits, len(names)), strict=True))
    room = {name for place, name in enumerate(names) if place not in full}

    chosen = assign.choose(assign.order(candidates), queue, room)

    if chosen is not None:
        finish = {one.worker_class: queue[one.worker_class] + one.seconds for one in candidates}
        assert chosen.worker_class in room
        assert finish[chosen.worker_class] == min(finish[name] for name in room)
