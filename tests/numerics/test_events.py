"""Streams of times and addresses: to trains and back, exactly, and what is no stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.spiking import events
from shared.spiking.events import Events
from shared.tensors.dtypes import F32

TRAINS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
    elements=st.sampled_from([0.0, 1.0]),
)
DT = st.sampled_from([1e-3, 1e-6, 0.1, 1 / 3, 0.7, 1.0])


def stream(*pairs: tuple[float, int]) -> Events:
    """Events of (time [s], address)."""
    times, addresses = zip(*pairs, strict=True) if pairs else ((), ())
    return Events(np.array(times, np.float64), np.array(addresses, np.int64))


def test_events_fall_into_the_step_in_which_they_come() -> None:
    heard = stream((0.0, 1), (0.0019, 0), (0.002, 1), (0.0049, 0))

    train, lost = events.to_train(heard, steps=5, neurons=2, dt=1e-3)

    assert train.T.tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert lost == 0


def test_what_comes_twice_in_a_step_is_one_spike_and_is_counted() -> None:
    heard = stream((0.001, 3), (0.0012, 3), (0.0014, 3), (0.0015, 2))

    train, lost = events.to_train(heard, steps=2, neurons=4, dt=1e-3)

    assert train.sum() == 2
    assert lost == 2


@given(TRAINS, DT)
def test_a_train_comes_back_from_its_events_whatever_the_step(train: F32, dt: float) -> None:
    steps, neurons = train.shape

    again = events.to_train(events.of_train(train, dt=dt), steps=steps, neurons=neurons, dt=dt)

    np.testing.assert_array_equal(again.train, train)
    assert again.lost == 0


@given(st.sets(st.tuples(st.integers(0, 500), st.integers(0, 9)), max_size=60), DT)
def test_events_at_multiples_of_the_step_come_back_exactly(
    spikes: set[tuple[int, int]], dt: float
) -> None:
    heard = stream(*((step * dt, address) for step, address in sorted(spikes)))

    again = events.of_train(events.to_train(heard, steps=501, neurons=10, dt=dt).train, dt=dt)

    np.testing.assert_array_equal(again.times, heard.times)
    np.testing.assert_array_equal(again.addresses, heard.addresses)


@pytest.mark.parametrize("step", [0, 1, 10**6 + 1, 2**31, 10**11 + 7])
def test_late_events_lie_on_their_step_too(step: int) -> None:
    for dt in (1e-3, 1e-6, 0.1, 1 / 3):
        times = np.array([step * dt])
        assert events.steps_of(times, dt=dt) == step


def test_events_that_are_no_stream_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match=r"event 2: 0.1 comes before the event ahead of it"):
        stream((0.1, 0), (0.2, 0), (0.1, 0))
    with pytest.raises(ValueError, match=r"event 1: nan is no time"):
        stream((0.1, 0), (np.nan, 0))
    with pytest.raises(ValueError, match=r"event 0: inf is no time"):
        stream((np.inf, 0))
    with pytest.raises(ValueError, match=r"event 0: -0.1 is no time"):
        stream((-0.1, 0))
    with pytest.raises(ValueError, match="event 1: -1 is no address"):
        stream((0.1, 0), (0.1, -1))
    with pytest.raises(ValueError, match=r"times \(2,\) and addresses \(1,\) must be one each"):
        Events(np.zeros(2), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="times must be float64, got float32"):
        Events(np.zeros(1, np.float32), np.zeros(1, np.int64))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="whole numbers, got float64"):
        Events(np.zeros(1), np.zeros(1))  # type: ignore[arg-type]  # on purpose


def test_events_outside_of_a_train_are_refused_by_number() -> None:
    heard = stream((0.001, 0), (0.005, 3))

    with pytest.raises(ValueError, match=r"event 1: 0.005 is after the end of 5 steps of 0.001 s"):
        events.to_train(heard, steps=5, neurons=4, dt=1e-3)
    with pytest.raises(ValueError, match="event 1: 3 is not one of 3 neurons"):
        events.to_train(heard, steps=6, neurons=3, dt=1e-3)
    with pytest.raises(ValueError, match=r"dt must be positive and finite, got 0.0 s"):
        events.to_train(heard, steps=6, neurons=4, dt=0.0)


def test_what_is_no_train_has_no_events() -> None:
    with pytest.raises(ValueError, match=r"\(steps, neurons\) of 0 and 1, got shape \(2, 1\)"):
        events.of_train(np.array([[0.5], [1.0]], np.float32), dt=1e-3)
    with pytest.raises(ValueError, match=r"\(steps, neurons\) of 0 and 1, got shape \(2,\)"):
        events.of_train(np.zeros(2, np.float32), dt=1e-3)
