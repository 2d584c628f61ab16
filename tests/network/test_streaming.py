"""A stream may be cut anywhere: what neurons keep goes from one call into the next."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.network import execute, streaming
from shared.network.graph import Network, Step
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Tensors
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense
from tests.network import networks
from tests.network.streams import HIDDEN, INPUTS, STEPS, spiking, trains


def stream(network: Network, x: F32, cuts: list[int]) -> tuple[F32, Tensors]:
    """The spikes of all calls one after another, and all that the last one made."""
    base = execute.load(network, ReferenceBackend())
    kept: dict[str, Tensor] = {}
    spikes, made = [], dict[str, Tensor]()
    for part in np.split(x, cuts, axis=1):
        way = streaming.opened(network, rows=len(x), steps=part.shape[1])
        made = base.beside(way.later if kept else way.first).run({"x": dense(part), **kept})
        kept = {name: made[value] for name, value in way.carried.items()}
        spikes.append(made["train"].values.view(np.float32))
    base.close()
    return np.concatenate(spikes, axis=1), made


def test_stream_in_one_call_is_the_network_itself() -> None:
    x = trains(3, STEPS)

    spikes, made = stream(spiking(), x, [])

    whole = execute.load(spiking(), ReferenceBackend()).run({"x": dense(x)})
    np.testing.assert_array_equal(spikes, whole["train"].values)
    np.testing.assert_array_equal(made["v"].values, whole["v"].values)
    assert spikes.any()


@given(st.sets(st.integers(1, STEPS - 1), max_size=6), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_stream_that_is_cut_anywhere_makes_the_same_spikes(cuts: set[int], rows: int) -> None:
    x = trains(rows, STEPS)

    spikes, made = stream(spiking(), x, sorted(cuts))

    whole, all_at_once = stream(spiking(), x, [])
    np.testing.assert_array_equal(spikes, whole)
    np.testing.assert_array_equal(made["v"].values, all_at_once["v"].values)
    np.testing.assert_array_equal(made["i"].values, all_at_once["i"].values)


def test_everything_that_neurons_keep_is_carried_once() -> None:
    way = streaming.opened(spiking(), rows=2, steps=5)

    assert way.carried == {"v1@kept": "v1", "v@kept": "v", "i@kept": "i"}
    assert way.first.outputs == ("train", "rate", "v", "v1", "i")
    assert way.later.inputs["v1@kept"].shape == (2, HIDDEN)
    assert way.later.inputs["x"].shape == (2, 5, INPUTS)
    assert way.spikes == ("x",)


def test_what_the_network_wires_itself_is_not_carried() -> None:
    network = spiking()
    hidden = replace(network.steps[1], inputs={**network.steps[1].inputs, "v": "begin"})
    given_v = TensorType(Layout.DENSE, Dtype.F32, (None, HIDDEN))
    own = replace(
        network,
        inputs={**network.inputs, "begin": given_v},
        steps=(network.steps[0], hidden, *network.steps[2:]),
    )

    assert streaming.opened(own, rows=1).carried == {"v@kept": "v", "i@kept": "i"}


def test_weight_that_an_operator_hands_on_is_carried_and_read_no_more() -> None:
    weights = {name: dense(np.ones(4, np.float32)) for name in ("pre", "post")}
    ports = {
        "weight": "w",
        "pre_spikes": "a",
        "post_spikes": "b",
        "pre_trace": "pre",
        "post_trace": "post",
    }
    made = {"weight_next": "w2", "pre_trace_next": "pre2", "post_trace_next": "post2"}
    window = {"a_plus": 0.1, "a_minus": 0.1, "decay_pre": 0.9, "decay_post": 0.9}
    step = Step("learn", "stdp_update", ports, made, window)
    flat = TensorType(Layout.DENSE, Dtype.F32, (4,))
    weights["w"] = dense(np.zeros((4, 4), np.float32))

    way = streaming.opened(Network({"a": flat, "b": flat}, ("w2",), (step,), weights), rows=1)

    assert set(way.carried.values()) == {"w2", "pre2", "post2"}
    assert way.later.weights == {}
    assert way.later.inputs["w2@kept"].shape == (4, 4)


def test_network_that_keeps_nothing_has_no_stream() -> None:
    with pytest.raises(ValueError, match="keeps nothing from call to call"):
        streaming.opened(networks.mlp((4, 3), ("dense",)), rows=1)


@pytest.mark.parametrize("steps", [0, -1, streaming.MAX_STEPS + 1])
def test_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {streaming.MAX_STEPS} steps, got {steps}"):
        streaming.opened(spiking(), rows=1, steps=steps)


def test_steps_of_a_network_are_those_it_was_made_with() -> None:
    assert streaming.steps_of(spiking()) == STEPS
    with pytest.raises(ValueError, match="has no time"):
        streaming.steps_of(networks.mlp((4, 3), ("dense",)))


def test_network_beside_another_ends_with_it_and_shares_its_weights() -> None:
    backend = ReferenceBackend()
    base = execute.load(spiking(), backend)
    way = streaming.opened(base.network, rows=1, steps=2)

    beside = base.beside(way.first)

    assert beside.weight("w1") is base.weight("w1")


def test_network_with_other_weights_is_not_beside_it() -> None:
    base = execute.load(spiking(), ReferenceBackend())

    with pytest.raises(ValueError, match="weight 'w1' is not one of the loaded network"):
        base.beside(spiking())
