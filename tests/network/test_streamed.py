"""Spikes come and go as events: row, step of the stream, neuron; what is not sound is named."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared.network import streamed, streaming
from shared.network.streaming import Opened
from shared.tensors.dtypes import Array
from shared.tensors.layouts import dense
from tests.network.streams import spiking

ROWS, STEPS, NEURONS = 2, 6, 12


@pytest.fixture(scope="module")
def way() -> Opened:
    return streaming.opened(spiking(), rows=ROWS, steps=STEPS)


def spread(events: list[list[int]], *, at: int = 100) -> Array:
    given_events = dense(np.array(events, np.int32).reshape(-1, 3))
    return streamed.spread("x.events", given_events, (ROWS, STEPS, NEURONS), at=at)


@given(npst.arrays(np.float32, (ROWS, STEPS, NEURONS), elements=st.sampled_from([0.0, 1.0])))
def test_spikes_as_events_and_back_are_the_same(spikes: Array) -> None:
    events = streamed.events(spikes, at=100)

    np.testing.assert_array_equal(spread(events.tolist()), spikes)


def test_steps_of_events_count_from_the_beginning_of_the_stream() -> None:
    spikes = np.zeros((1, 4, 3), np.float32)
    spikes[0, 2, 1] = 1

    assert streamed.events(spikes, at=40).tolist() == [[0, 42, 1]]


def test_events_are_ordered_by_step_before_row() -> None:
    spikes = np.zeros((2, 2, 1), np.float32)
    spikes[0, 1, 0] = spikes[1, 0, 0] = 1

    assert streamed.events(spikes, at=0).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_two_events_of_one_place_are_one_spike() -> None:
    assert spread([[0, 100, 3], [0, 100, 3]]).sum() == 1


@pytest.mark.parametrize(
    "event", [[0, 99, 0], [0, 106, 0], [2, 100, 0], [0, 100, 12], [-1, 100, 0]]
)
def test_event_outside_of_the_call_is_named_with_the_bounds(event: list[int]) -> None:
    told = f"event 1 of x.events is {event} (row, step, neuron); rows are 0..1, steps 100..105"
    with pytest.raises(ValueError, match=re.escape(told)):
        spread([[0, 100, 0], event])


def test_event_that_is_earlier_than_the_one_before_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"event 2 of x\.events is of step 102, .* 103"):
        spread([[0, 100, 0], [0, 103, 0], [0, 102, 0]])


def test_events_of_another_shape_or_type_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("(events, 3): row, step, neuron; not (4, 2)")):
        streamed.spread("x.events", dense(np.zeros((4, 2), np.int32)), (1, 1, 1), at=0)
    with pytest.raises(ValueError, match="i32 or i64, not dense f32"):
        streamed.spread("x.events", dense(np.zeros((4, 3), np.float32)), (1, 1, 1), at=0)


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, np.nan, np.inf])
def test_value_that_is_no_spike_is_named_with_its_place(way: Opened, value: float) -> None:
    x = np.zeros((ROWS, STEPS, NEURONS), np.float32)
    x[1, 2, 3] = value

    with pytest.raises(ValueError, match=re.escape(f"'x' is {value} at (1, 2, 3); a spike is 0")):
        streamed.inputs(way, {"x": dense(x)}, at=0)


def test_events_are_taken_for_spikes_alone(way: Opened) -> None:
    nothing = dense(np.zeros((0, 3), np.int32))

    with pytest.raises(ValueError, match=r"events are taken once, for x; got 'y\.events'"):
        streamed.inputs(way, {"y.events": nothing}, at=0)


def test_events_become_the_input_of_their_name(way: Opened) -> None:
    found = streamed.inputs(way, {"x.events": dense(np.array([[1, 7, 3]], np.int64))}, at=5)

    assert np.argwhere(found["x"].values).tolist() == [[1, 2, 3]]
