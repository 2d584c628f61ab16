"""What leaves a full device, and what must not."""

from hypothesis import given
from hypothesis import strategies as st

from shared.placement import residency
from shared.placement.residency import Held

NOW = 1000
SIZES = st.integers(1, 2**20)
HELD = st.lists(
    st.builds(
        Held,
        key=st.integers(0, 10**6),
        size=SIZES,
        cost=st.floats(1e-6, 10.0),
        used=st.integers(0, NOW),
        period=st.none() | st.integers(1, NOW),
    ),
    unique_by=lambda one: one.key,
    max_size=20,
)


def equal(key: int, *, used: int, period: int | None = None) -> Held:
    return Held(key, size=100, cost=1.0, used=used, period=period)


@given(HELD, st.integers(0, 2**22))
def test_enough_leaves_or_nothing_can_and_never_what_is_pinned(held: list[Held], need: int) -> None:
    pinned = {one.key for one in held[::3]}

    chosen = residency.leaving(held, pinned, need, NOW)

    free = sum(one.size for one in held if one.key not in pinned)
    assert (chosen is None) == (free < need)
    if chosen is not None:
        assert not {one.key for one in chosen} & pinned
        assert sum(one.size for one in chosen) >= need
        assert set(chosen) <= set(held)


@given(HELD, st.integers(0, 2**22))
def test_nobody_leaves_in_vain(held: list[Held], need: int) -> None:
    chosen = residency.leaving(held, (), need, NOW) or ()

    freed = sum(one.size for one in chosen)
    assert all(freed - one.size < need for one in chosen)


@given(HELD, st.integers(0, 2**22))
def test_the_choice_does_not_depend_on_the_order_of_asking(held: list[Held], need: int) -> None:
    forth = residency.leaving(held, (), need, NOW)
    back = residency.leaving(held[::-1], (), need, NOW)

    assert forth == back


@given(SIZES, st.floats(1e6, 1e11), st.integers(1, 6))
def test_what_must_be_read_back_first_costs_twice(
    size: int, bandwidth: float, transfers: int
) -> None:
    saved = residency.seconds_back(size, bandwidth, transfers=transfers, saved=True)
    unsaved = residency.seconds_back(size, bandwidth, transfers=transfers, saved=False)

    assert unsaved == 2.0 * saved
    assert saved > transfers * residency.LATENCY


def test_of_alike_tensors_the_one_idle_longest_leaves() -> None:
    old, recent = equal(1, used=10), equal(2, used=90)

    assert residency.leaving([recent, old], (), 1, now=100) == (old,)


def test_per_byte_the_cheap_one_leaves() -> None:
    dear = Held(1, size=100, cost=2.0, used=0)
    cheap = Held(2, size=100, cost=1.0, used=0)

    assert residency.leaving([dear, cheap], (), 1, now=5) == (cheap,)


def test_a_small_tensor_stays_because_every_transfer_takes_its_latency() -> None:
    # 256 B: 50 us; 1 MiB at 1 GB/s: 1.1 ms. Per byte 195 ns against 1.05 ns.
    small, large = (
        Held(
            key,
            size,
            residency.seconds_back(size, 1e9, transfers=1, saved=True),
            used=0,
        )
        for key, size in ((1, 256), (2, 2**20))
    )

    assert residency.leaving([small, large], (), 1, now=5) == (large,)


def test_what_is_read_next_stays_and_what_was_just_read_leaves() -> None:
    # A loop over ten: at tick 109 number 0 (read at 100) is next, number 8 is nine ticks away.
    loop = [equal(key, used=100 + key, period=10) for key in range(10)]

    (first,) = residency.leaving(loop, {9}, 1, now=109) or ()

    assert first.key == 8


def test_a_tensor_that_is_overdue_is_no_longer_expected() -> None:
    overdue = equal(1, used=0, period=10)  # idle for 100: expected in 100
    due = equal(2, used=95, period=10)  # expected in 5

    assert residency.leaving([due, overdue], (), 1, now=100) == (overdue,)


def test_a_use_sets_the_period() -> None:
    assert equal(1, used=3).read(now=10) == equal(1, used=10, period=7)


def hits(rounds: int, loop: int, room: int) -> int:
    """Uses that find their tensor on the device, in a loop over alike tensors."""
    present: dict[int, Held] = {}
    gone: dict[int, Held] = {}
    found = 0
    for now in range(1, rounds * loop + 1):
        key = now % loop
        found += key in present
        if key not in present and len(present) == room:
            for one in residency.leaving(present.values(), {key}, 1, now) or ():
                gone[one.key] = present.pop(one.key)
        known = present.get(key) or gone.pop(key, None)
        present[key] = known.read(now) if known else equal(key, used=now)
    return found


def test_a_loop_over_more_than_fits_misses_only_the_excess() -> None:
    # Least recently used finds nothing in such a loop; Belady's optimum keeps all but the excess.
    rounds, loop, room = 22, 10, 8

    found = hits(rounds, loop, room)

    assert found >= (rounds - 2) * (room - 1)
