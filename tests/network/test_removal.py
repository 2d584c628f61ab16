"""Rows that leave with all that depends on them: the answers are those of rows at zero."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.network import execute, removal, shapes
from shared.network.graph import Network, Step
from shared.operators.reference import ReferenceBackend
from shared.pruning.masks import Mask
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense
from tests.network.networks import batched, mlp

COLUMNS, WIDTH = 5, 6
X: F32 = np.random.default_rng(7).standard_normal((9, COLUMNS)).astype(np.float32)


def answers(network: Network) -> list[F32]:
    found = execute.load(network, ReferenceBackend()).run({"x": dense(X)})
    return [found[name].values.astype(np.float32) for name in network.outputs]


def masked(network: Network, layers: list[str], mask: Mask) -> Network:
    """Rows and their biases at zero instead of gone."""
    weights = dict(network.weights)
    for step in network.steps:
        for port in ("weight", "bias"):
            if step.name in layers and port in step.inputs:
                array = weights[step.inputs[port]].values.copy()
                array[~mask] = 0
                weights[step.inputs[port]] = dense(array)
    return replace(network, weights=weights)


class Drawn:
    """A network in the making, all of whose hidden values have as many channels."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.rng = draw, np.random.default_rng(draw(st.integers(0, 1000)))
        self.steps: list[Step] = []
        self.weights: dict[str, Tensor] = {}
        self.hidden: list[str] = []

    def array(self, name: str, *shape: int) -> str:
        self.weights[name] = dense(self.rng.standard_normal(shape).astype(np.float32))
        return name

    def layer(self, x: str, columns: int, rows: int = WIDTH) -> str:
        at = len(self.steps)
        inputs = {"x": x, "weight": self.array(f"w{at}", rows, columns)}
        if self.draw(st.booleans()):
            inputs["bias"] = self.array(f"b{at}", rows)
        return self.step("gemm_f32", inputs)

    def step(self, operator: str, inputs: dict[str, str], **attributes: float) -> str:
        at = len(self.steps)
        self.steps.append(Step(f"s{at}", operator, inputs, {"y": f"v{at}"}, attributes))
        return f"v{at}"

    def more(self) -> str:
        """Another hidden value, made of those that are there."""
        some = st.sampled_from(self.hidden)
        match self.draw(st.sampled_from(["layer", "single", "clip", "vector", "pair", "fresh"])):
            case "layer":
                return self.layer(self.draw(some), WIDTH)
            case "single":
                operator = self.draw(st.sampled_from(["relu", "sigmoid", "tanh", "copy"]))
                return self.step(operator, {"x": self.draw(some)})
            case "clip":
                return self.step("clip", {"x": self.draw(some)}, low=0.25, high=2.0)
            case "vector":
                other = self.array(f"c{len(self.steps)}", WIDTH)
                operator = self.draw(st.sampled_from(["add", "mul"]))
                return self.step(operator, {"a": self.draw(some), "b": other})
            case "pair":
                operator = self.draw(st.sampled_from(["add", "mul"]))
                return self.step(operator, {"a": self.draw(some), "b": self.draw(some)})
        return self.layer("x", COLUMNS)


@st.composite
def drawn(draw: st.DrawFn) -> Network:
    made = Drawn(draw)
    made.hidden.append(made.layer("x", COLUMNS))
    for _ in range(draw(st.integers(0, 7))):
        made.hidden.append(made.more())
    ends = [made.layer(draw(st.sampled_from(made.hidden)), WIDTH, 3)]
    ends.append(made.layer(made.hidden[-1], WIDTH, 2))
    if draw(st.integers(0, 4)) == 0:
        ends.append(made.step("softmax", {"x": made.hidden[0]}))
    return Network({"x": batched(COLUMNS)}, tuple(ends), tuple(made.steps), made.weights)


MASKS = st.lists(st.booleans(), min_size=WIDTH, max_size=WIDTH).filter(any)


@given(drawn(), MASKS)
def test_what_is_left_computes_what_rows_at_zero_would(network: Network, kept: list[bool]) -> None:
    mask = np.array(kept)
    free = [group for group in removal.groups(network) if not group.blocked]
    smaller, zeroed = network, network
    for group in free:
        smaller = removal.without_rows(smaller, {group.layers[0]: mask})
        zeroed = masked(zeroed, group.layers, mask)

    for found, expected in zip(answers(smaller), answers(zeroed), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for group in free:
        names = {
            step.name: step.inputs["weight"] for step in smaller.steps if "weight" in step.inputs
        }
        assert {len(smaller.weights[names[name]].values) for name in group.layers} == {mask.sum()}
    shapes.check(smaller)


@given(drawn())
def test_every_layer_is_in_one_group(network: Network) -> None:
    found = [name for group in removal.groups(network) for name in group.layers]

    layers = [step.name for step in network.steps if step.operator == "gemm_f32"]
    assert sorted(found) == sorted(layers)


def test_layers_whose_sums_meet_lose_the_same_rows() -> None:
    network = residual()

    hidden, last = removal.groups(network)

    assert hidden.layers == ["first", "second"]
    assert hidden.readers == ["second", "last"]
    assert (hidden.blocked, last.blocked) == ("", "it is an output")


def test_what_a_channel_holds_without_its_rows_goes_to_the_bias_of_its_readers() -> None:
    # sigmoid(0) = 0.5 times the weight 4 of the channel that leaves, beside the bias 1
    weights = {
        "w0": dense(np.ones((2, COLUMNS), np.float32)),
        "w1": dense(np.array([[3, 4]], np.float32)),
        "b1": dense(np.array([1], np.float32)),
    }
    steps = (
        Step("first", "gemm_f32", {"x": "x", "weight": "w0"}, {"y": "h"}),
        Step("squash", "sigmoid", {"x": "h"}, {"y": "s"}),
        Step("last", "gemm_f32", {"x": "s", "weight": "w1", "bias": "b1"}, {"y": "y"}),
    )
    network = Network({"x": batched(COLUMNS)}, ("y",), steps, weights)

    smaller = removal.without_rows(network, {"first": np.array([True, False])})

    held = {
        port: smaller.weights[name].values
        for port, name in smaller.steps[2].inputs.items()
        if name != "s"
    }
    assert held["weight"].tolist() == [[3]]
    assert held["bias"].tolist() == [3]


def residual() -> Network:
    """h = first(x); h + second(h) -> last."""
    rng = np.random.default_rng(0)
    sizes = {"first": (4, COLUMNS), "second": (4, 4), "last": (3, 4)}
    weights = {name: dense(rng.standard_normal(size).astype("<f4")) for name, size in sizes.items()}
    steps = (
        Step("first", "gemm_f32", {"x": "x", "weight": "first"}, {"y": "h"}),
        Step("second", "gemm_f32", {"x": "h", "weight": "second"}, {"y": "g"}),
        Step("sum", "add", {"a": "h", "b": "g"}, {"y": "s"}),
        Step("last", "gemm_f32", {"x": "s", "weight": "last"}, {"y": "y"}),
    )
    return Network({"x": batched(COLUMNS)}, ("y",), steps, weights)


def test_a_layer_whose_output_is_asked_for_stays_whole() -> None:
    network = mlp((4, 5, 3), ("dense", "dense"))
    again = Step("again", "softmax", {"x": "h0"}, {"y": "z"})
    shared = replace(network, steps=(*network.steps, again), outputs=("y", "z"))

    with pytest.raises(ValueError, match="'layer0' cannot go: softmax step 'again' needs all"):
        removal.without_rows(shared, {"layer0": np.ones(5, np.bool_)})


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (
            {"first": np.zeros(4, np.bool_)},
            r"has 4 rows, of which some must stay; got \(4,\) with 0",
        ),
        ({"first": np.ones(3, np.bool_)}, r"has 4 rows, of which some must stay; got \(3,\)"),
        ({"sum": np.ones(4, np.bool_)}, "rows of 'sum' cannot go: it is no dense layer"),
        ({"last": np.ones(3, np.bool_)}, "rows of 'last' cannot go: it is an output"),
        (
            {"first": np.array([1, 1, 1, 0], np.bool_), "second": np.ones(4, np.bool_)},
            "lose the same rows: give one mask",
        ),
    ],
    ids=["none_stay", "length", "no_layer", "output", "twice"],
)
def test_wishes_that_cannot_be_met_are_refused(kept: dict[str, Mask], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        removal.without_rows(residual(), kept)
