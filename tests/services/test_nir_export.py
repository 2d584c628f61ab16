"""Spiking networks as NIR files: read again they spike the same, bit by bit."""

import io
import json

import h5py
import nir
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.compressor.exporters import nir_neurons, nir_writer
from shared.contracts.errors import UnsupportedOperator
from shared.network.graph import Network, Step
from shared.operators.spec import Scalar
from shared.spiking.layers import NEVER
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense
from tests.services.nir_files import (
    DT,
    STEPS,
    affine,
    answered,
    chain,
    ends,
    every,
    lif,
    served,
    spikes,
    written,
)

SPIKES = spikes(12)
CUBA: dict[str, Scalar] = {"decay": 0.9, "synapse": 0.8, "couple": 1.0, "threshold": 0.8}
# K = (a - b) tau_syn / (tau_syn - tau_mem) with tau = -dt / ln: see importers.nir_neurons
PASSED = float((0.8 - 0.9) * (-1 / np.log(0.8)) / (-1 / np.log(0.8) + 1 / np.log(0.9)))
CUBA["direct"] = (0.1 - PASSED) / (PASSED * 0.2)


def network(*layers: tuple[str, dict[str, Scalar]], bias: bool = True) -> Network:
    """Layers of nine neurons one after the other, and what is read of the last."""
    rng = np.random.default_rng(5)
    steps = [Step("pack", "spike_pack", {"x": "x"}, {"spikes": "s"})]
    weights: dict[str, Tensor] = {}
    value, size = "s", 12
    for at, (operator, attributes) in enumerate(layers):
        name = f"layer{at}"
        weights[f"{name}:w"] = dense(rng.normal(0.1, 0.5, (9, size)).astype(np.float32))
        ports = {"spikes": value, "weight": f"{name}:w"}
        if bias:
            weights[f"{name}:b"] = dense(rng.normal(0, 0.1, 9).astype(np.float32))
            ports["bias"] = f"{name}:b"
        made = {"spikes": f"{name}:s", "v_next": f"{name}:v"}
        if operator == "cuba_layer":
            made["i_next"] = f"{name}:i"
        steps.append(Step(name, operator, ports, made, attributes))
        value, size = made["spikes"], 9
    outputs: tuple[str, ...] = (f"layer{len(layers) - 1}:v",)
    if layers[-1][1].get("threshold") != NEVER:
        steps.append(Step("count", "spike_rate", {"spikes": value}, {"y": "rate"}))
        steps.append(Step("unpack", "spike_unpack", {"spikes": value}, {"y": "train"}))
        outputs = ("rate", "train", *outputs)
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, STEPS, 12))
    return Network({"x": kind}, outputs, tuple(steps), weights)


def require_same(one: Network, other: Network) -> None:
    """What is answered is the same bits: rates, trains and last potentials, or these alone."""
    first, second = (answered(network, SPIKES) for network in (one, other))
    for mine, theirs in zip(one.outputs, other.outputs, strict=True):
        np.testing.assert_array_equal(first[mine], second[theirs])


LAYERS = {
    "lif": ("lif_layer", {"decay": 0.9, "leak": -0.2, "threshold": 0.7, "reset": -0.3}),
    "few_places": ("lif_layer", {"decay": 0.7, "fraction": 6, "surrogate": "arctan"}),
    "if": ("lif_layer", {"decay": 1.0, "leak": 0.1, "threshold": 1.3}),
    "threshold": ("lif_layer", {"decay": 0.0, "threshold": 0.4}),
    "li": ("lif_layer", {"decay": 0.9, "leak": 0.3, "threshold": NEVER}),
    "i": ("lif_layer", {"decay": 1.0, "threshold": NEVER}),
    "cuba_lif": ("cuba_layer", {**CUBA, "leak": 0.1, "reset": -0.1}),
    "cuba_euler": ("cuba_layer", {**CUBA, "direct": 0.0}),
    "cuba_li": ("cuba_layer", {**CUBA, "threshold": NEVER}),
}
KINDS = {"lif": "LIF", "few_places": "LIF", "if": "IF", "threshold": "Threshold"}
KINDS |= {"cuba_euler": "CubaLIF", "li": "LI", "i": "I", "cuba_lif": "CubaLIF", "cuba_li": "CubaLI"}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_every_type_of_neuron_comes_back_bit_by_bit(name: str, bias: bool) -> None:
    ours = network(("lif_layer", {"decay": 0.8}), LAYERS[name], bias=bias)

    data = nir_writer.encode(ours, dt=DT)

    again = served(data)
    require_same(ours, again)
    require_same(again, served(nir_writer.encode(again, dt=DT)))
    with h5py.File(io.BytesIO(data)) as held:
        assert held["node/nodes/layer1/type"][()].decode() == KINDS[name]


@given(
    decay=st.floats(0.01, 0.999),
    threshold=st.floats(0.25, 4.0),
    reset=st.floats(-1.0, 0.2),
    leak=st.floats(-0.5, 0.2),
    fraction=st.integers(4, 20),
)
def test_any_layer_comes_back_bit_by_bit(
    decay: float, threshold: float, reset: float, leak: float, fraction: int
) -> None:
    attributes: dict[str, Scalar] = {"decay": decay, "threshold": threshold, "reset": reset}
    ours = network(("lif_layer", {**attributes, "leak": leak, "fraction": fraction}))

    require_same(ours, served(nir_writer.encode(ours, dt=DT)))


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 0.5])
def test_a_file_read_written_and_read_again_agrees(dt: float) -> None:
    nodes = [affine(12, 9), lif(9, reset=-0.3), affine(9, 5), lif(5, leak=-0.2)]
    first = served(chain(*nodes), dt=dt)

    require_same(first, served(nir_writer.encode(first, dt=dt), dt=dt))


def test_a_current_of_eulers_rule_leaves_with_constants_of_that_rule() -> None:
    euler = {"decay": 0.75, "synapse": 0.5, "couple": 0.25, "direct": 0.0}

    found = nir_neurons.constants("cuba_layer", euler, dt=1e-3)

    # tau = dt / (1 - d); per step R (1 - b) I comes, and I is (1 - a) times our current
    wanted = {"tau_mem": 4e-3, "tau_syn": 2e-3, "r": 0.25 / (0.25 * 0.5), "w_in": 1.0}
    assert {name: found.fields[name] for name in wanted} == pytest.approx(wanted)


def test_branches_leave_as_branches() -> None:
    nodes = {"a": affine(12, 7), "n": lif(7), "c": affine(7, 5), "skip": affine(12, 5)}
    first, last = ends(12, 5)
    edges = [("input", "a"), ("a", "n"), ("n", "c"), ("c", "m"), ("input", "skip"), ("skip", "m")]
    every_node = {"input": first, **nodes, "m": lif(5), "output": last}
    ours = served(written(every_node, [*edges, ("m", "output")]))

    data = nir_writer.encode(ours, dt=DT)

    require_same(ours, served(data))
    assert len(nir.read(io.BytesIO(data), type_check=False).edges) == 7


def test_constants_are_those_of_the_equations() -> None:
    found = nir_neurons.constants("lif_layer", {"decay": 0.5, "threshold": 2.0}, dt=1e-3)

    # exp(-dt / tau) = 1/2: tau = dt / ln 2; r (1 - 1/2) = 1
    assert found.kind == "LIF"
    assert found.fields["tau"] == pytest.approx(1e-3 / np.log(2), rel=1e-12)
    assert found.fields["r"] == 2.0
    assert (found.fields["v_leak"], found.fields["v_threshold"]) == (0.0, 2.0)


def test_constants_that_somebody_changed_are_what_holds() -> None:
    def threshold_of(node: str, factor: float) -> Network:
        held = io.BytesIO(nir_writer.encode(network(LAYERS["lif"]), dt=DT))
        with h5py.File(held, "r+") as opened:
            opened[f"node/nodes/{node}/v_threshold"][...] *= factor
        return served(held.getvalue())

    same, higher = (threshold_of("layer0", factor) for factor in (1.0, 1e3))

    assert answered(same, SPIKES)["train"].any()
    assert not answered(higher, SPIKES)["train"].any()


def test_steps_of_another_length_are_computed_from_the_constants() -> None:
    data = nir_writer.encode(network(("lif_layer", {"decay": 0.5})), dt=1e-3)

    halved = served(data, dt=5e-4)

    assert halved.steps[1].attributes["decay"] == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"operator": "lif_layer", "dt": DT, "attributes": []})]
)
def test_metadata_of_somebody_else_are_left_alone(text: str) -> None:
    assert nir_neurons.read({nir_neurons.KEY: text}, dt=DT) is None


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (("lif_layer", {"decay": 0.9, "subtract": True}), "'layer0' .* reset by subtraction"),
        (("cuba_layer", {**CUBA, "direct": 0.1}), "'layer0' .* direct 0.1; with those decays"),
        (("cuba_layer", {**CUBA, "synapse": 0.0}), "'layer0' .* synapse 0.0, which no time"),
    ],
)
def test_what_nir_cannot_hold_is_named(layer: tuple[str, dict[str, Scalar]], message: str) -> None:
    with pytest.raises(UnsupportedOperator, match=message):
        nir_writer.encode(network(layer), dt=DT)


def test_a_network_that_makes_its_own_spikes_is_refused_by_name() -> None:
    first = Step("encode", "rate_encode", {"x": "x"}, {"spikes": "s"}, {"steps": 5})
    count = Step("count", "spike_rate", {"spikes": "s"}, {"y": "y"})
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, 12))

    with pytest.raises(UnsupportedOperator, match=r"'encode' \(rate_encode\): no node of NIR"):
        nir_writer.encode(Network({"x": kind}, ("y",), (first, count), {}), dt=DT)


def test_names_that_hdf5_would_split_are_changed() -> None:
    node = nir.LI(every(12, 0.01), every(12, 1.0), every(12, 0.0))
    ours = served(chain(node, made=12))
    steps = tuple(
        Step("a/b", s.operator, s.inputs, s.outputs, s.attributes) if s.name == "n0" else s
        for s in ours.steps
    )

    data = nir_writer.encode(Network(ours.inputs, ours.outputs, steps, ours.weights), dt=DT)

    assert "a_b" in {step.name for step in served(data).steps}
