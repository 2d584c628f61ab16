"""Artifacts: the same bytes for the same network, the same network back, nothing taken on trust."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.network import artifact
from shared.network.graph import Network
from shared.tensors import container
from tests.network.networks import mlp, mlps

Graph = dict[str, Any]


def tampered(change: Callable[[Graph], object]) -> bytes:
    """An artifact whose graph was changed behind our back."""
    data = artifact.pack(mlp((3, 2, 2), ("dense", "csr")))
    graph = json.loads(container.metadata(data)["network"])
    change(graph)
    return container.pack(container.unpack(data), {"network": json.dumps(graph)})


@given(mlps())
def test_a_network_survives_the_way_through_bytes(network: Network) -> None:
    data = artifact.pack(network)

    back = artifact.unpack(data)

    assert back.steps == network.steps
    assert (back.inputs, back.outputs) == (network.inputs, network.outputs)
    assert artifact.pack(back) == data
    for name, weight in network.weights.items():
        assert back.weights[name].type == weight.type
        for part, values in weight.parts.items():
            np.testing.assert_array_equal(back.weights[name].parts[part], values)


def test_another_process_packs_the_same_bytes() -> None:
    program = (
        "from tests.network.networks import mlp; from shared.network import artifact;"
        "from shared.tensors import container;"
        "print(container.digest(artifact.pack(mlp((5, 4, 3), ('int8', 'csr')))))"
    )

    there = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    here = container.digest(artifact.pack(mlp((5, 4, 3), ("int8", "csr"))))
    assert there.stdout.decode().strip() == here


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda g: g["steps"][0].update(operator="exec"), "no operator 'exec'"),
        (lambda g: g["steps"].reverse(), "cycle"),
        (lambda g: g["steps"][0]["inputs"].update(x="ghost"), "nothing makes"),
        (lambda g: g["steps"][0]["inputs"].update(x=7), "must be text"),
        (lambda g: g["steps"][0].update(attributes={"activation": {}}), "must be a list"),
        (lambda g: g["steps"][0].update(attributes={"activation": [1.5]}), "scalar or up to"),
        (lambda g: g["steps"].append(3), "step must be an object"),
        (lambda g: g.update(steps=None), "steps must be a list"),
        (lambda g: g.update(version=2), "version 2"),
        (lambda g: g["inputs"]["x"].update(shape=[None, 2**40]), "dimension"),
        (lambda g: g["inputs"]["x"].update(shape=[None, None]), "only the first may be open"),
        (lambda g: g["inputs"]["x"].update(shape=[1] * 9), "rank 9"),
        (lambda g: g["inputs"]["x"].update(dtype="f128"), "f128"),
        (lambda g: g.update(outputs=["ghost"]), "made by no step"),
        (lambda g: g.update(outputs=["y", "y"]), "output 'y' is defined twice"),
        (lambda g: g["steps"][0].update(name="\ud800"), "half of a surrogate pair"),
        (lambda g: g["steps"][0].update(attributes={"activation": 10**4000}), "is a str, got 1000"),
    ],
)
def test_a_tampered_graph_is_refused(change: Callable[[Graph], object], why: str) -> None:
    data = tampered(change)

    with pytest.raises(ValueError, match=why):
        artifact.unpack(data)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nests too deeply"),
        ('{"version": 1, "version": 1}', "occurs twice"),
        ('{"version": NaN}', "NaN"),
        (f'{{"version": {"9" * 5000}}}', "4300 digits"),
        ("{", "Expecting"),
        ("[]", "graph must be a JSON object"),
    ],
)
def test_json_that_is_no_graph_is_refused(text: str, why: str) -> None:
    data = container.pack({}, {"network": text})

    with pytest.raises(ValueError, match=why):
        artifact.unpack(data)


def test_a_number_beyond_every_float_is_refused() -> None:
    graph = json.loads(container.metadata(artifact.pack(mlp((3, 2), ("dense",))))["network"])
    graph["steps"][0]["attributes"] = {"activation": 0.5}
    text = json.dumps(graph).replace("0.5", "1e999")  # JSON has no infinity, Python reads one

    with pytest.raises(ValueError, match="activation is inf, not a finite number"):
        artifact.unpack(container.pack({}, {"network": text}))


def test_a_container_without_a_graph_is_no_artifact() -> None:
    with pytest.raises(ValueError, match="no key 'network'"):
        artifact.unpack(container.pack({}, {}))


@given(st.data())
def test_no_cut_or_flipped_byte_does_more_than_raise_value_error(data: st.DataObject) -> None:
    whole = artifact.pack(mlp((3, 2), ("csr",)))
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]

    for broken in (whole[:place], flipped):
        try:
            artifact.unpack(broken)
        except ValueError:
            continue
