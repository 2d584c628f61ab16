"""NIR graphs that branch, come together again, and hold others."""

import nir
import numpy as np
import pytest

from services.compressor.importers import nir_linear, nir_populations
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator
from shared.network.graph import Network
from tests.services.nir_files import (
    Edges,
    affine,
    answered,
    chain,
    ends,
    every,
    graph,
    lif,
    served,
    spikes,
    written,
)

SPIKES = spikes(12)
FIRST, LAST = ends(12, 5)
LINEAR = {"a": affine(12, 7), "b": affine(12, 4), "c": affine(7, 5), "d": affine(4, 5)}


def network(nodes: dict[str, nir.NIRNode], edges: Edges) -> Network:
    return served(written({"input": FIRST, **nodes, "output": LAST}, edges))


def train(found: Network) -> np.ndarray:
    return answered(found, SPIKES)["train"]


def joined(*parts: nir.LIF) -> nir.LIF:
    fields = ("tau", "r", "v_leak", "v_threshold", "v_reset")
    return nir.LIF(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in fields})


def test_two_populations_that_one_reads_are_one_of_both_sizes() -> None:
    left, right, last = lif(7), lif(4), lif(5)
    apart = network(
        {**LINEAR, "left": left, "right": right, "last": last},
        [
            *(("input", "a"), ("a", "left"), ("left", "c"), ("c", "last")),
            *(("input", "b"), ("b", "right"), ("right", "d"), ("d", "last")),
            ("last", "output"),
        ],
    )
    a, b, c, d = LINEAR.values()
    first = nir.Affine(np.vstack([a.weight, b.weight]), np.concatenate([a.bias, b.bias]))
    second = nir.Affine(np.hstack([c.weight, d.weight]), c.bias + d.bias)

    together = served(chain(first, joined(left, right), second, last))

    assert [step.operator for step in apart.steps].count("spike_join") == 1
    np.testing.assert_array_equal(train(apart), train(together))
    assert train(apart).mean() > 0.05


def test_neurons_may_read_the_input_beside_other_neurons() -> None:
    nodes = {"a": LINEAR["a"], "n": lif(7), "c": LINEAR["c"], "skip": affine(12, 5), "m": lif(5)}
    wired = [("input", "a"), ("a", "n"), ("n", "c"), ("c", "m"), ("input", "skip"), ("skip", "m")]
    found = network(nodes, [*wired, ("m", "output")])

    ours = train(found)

    hidden = train(served(chain(LINEAR["a"], lif(7), made=7)))
    both = np.concatenate([hidden, SPIKES], axis=2)
    c, skip = nodes["c"], nodes["skip"]
    once = nir.Affine(np.hstack([c.weight, skip.weight]), c.bias + skip.bias)
    wanted = answered(served(chain(once, lif(5), size=19)), both)["train"]
    np.testing.assert_array_equal(ours, wanted)


def test_linear_paths_from_one_place_are_added_up_without_a_join() -> None:
    other = affine(12, 7, seed=1)
    nodes = {"a": LINEAR["a"], "b": other, "n": lif(7)}
    edges = [("input", "a"), ("input", "b"), ("a", "n"), ("b", "n"), ("n", "output")]

    found = network(nodes, edges)

    summed = nir.Affine(LINEAR["a"].weight + other.weight, LINEAR["a"].bias + other.bias)
    assert "spike_join" not in {step.operator for step in found.steps}
    np.testing.assert_array_equal(train(found), train(served(chain(summed, lif(7), made=7))))


def test_spikes_go_straight_into_neurons_beside_those_of_a_matrix() -> None:
    nodes = {"a": affine(12, 12), "n": lif(12)}
    edges = [("input", "a"), ("a", "n"), ("input", "n"), ("n", "output")]

    found = network(nodes, edges)

    one = nir.Affine(nodes["a"].weight + np.eye(12), nodes["a"].bias)
    np.testing.assert_array_equal(train(found), train(served(chain(one, lif(12), made=12))))


def test_a_graph_in_a_graph_is_the_same_network() -> None:
    inner = graph({"in": ends(12, 7)[0], "a": LINEAR["a"], "n": lif(7), "out": ends(7, 7)[1]})
    middle = graph({"in": ends(12, 7)[0], "inner": inner, "out": ends(7, 7)[1]})
    nodes = {"input": FIRST, "middle": middle, "c": LINEAR["c"], "m": lif(5), "output": LAST}

    found = served(written(nodes))

    assert "middle.inner.n" in {step.name for step in found.steps}
    flat = served(chain(LINEAR["a"], lif(7), LINEAR["c"], lif(5)))
    np.testing.assert_array_equal(train(found), train(flat))


def test_a_convolution_and_a_pool_drive_neurons_like_the_matrix_they_are() -> None:
    rng = np.random.default_rng(2)
    kernel, bias = rng.standard_normal((4, 2, 3, 3)), rng.standard_normal(4) * 0.1
    conv = nir.Conv2d((6, 6), kernel, (1, 1), "same", (1, 1), 1, bias)
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flat = nir.Flatten({"input": np.array([4, 3, 3])}, 0, -1)
    x = spikes(72)

    found = answered(served(chain(conv, pool, flat, lif(36), size=(2, 6, 6))), x)["train"]

    first, second = nir_linear.linear("c", conv, (2, 6, 6)), nir_linear.linear("p", pool, (4, 6, 6))
    once = nir.Affine((second.matrix @ first.matrix).toarray(), second.matrix @ first.bias)
    np.testing.assert_array_equal(
        found, answered(served(chain(once, lif(36), size=72)), x)["train"]
    )
    assert 0.02 < found.mean() < 0.5


def test_neurons_of_an_image_keep_its_shape_for_the_next_pool() -> None:
    constants = {name: np.ones((2, 4, 4)) for name in ("tau", "r", "v_leak", "v_threshold")}
    constants |= {"v_leak": np.zeros((2, 4, 4)), "r": np.full((2, 4, 4), 1e4)}
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    x = spikes(32, share=0.1)

    found = served(chain(nir.LIF(**constants), pool, nir.Threshold(np.full(8, 0.5)), size=32))

    wanted = x.reshape(*x.shape[:2], 2, 2, 2, 2, 2).max(axis=(4, 6)).reshape(*x.shape[:2], 8)
    np.testing.assert_array_equal(answered(found, x)["train"], wanted)  # any spike of four


NESTED_TWICE = graph({"in": FIRST, "also": FIRST, "n": lif(12), "out": LAST})
FED = [("input", "a"), ("a", "n"), ("n", "output")]


@pytest.mark.parametrize(
    ("nodes", "edges", "error", "message"),
    [
        (
            {"a": affine(12, 5), "n": lif(5)},
            [*FED, ("input", "n")],
            InvalidNetwork,
            r"'n' \(LIF\) adds up \(5,\) and \(12,\)",
        ),
        ({"a": affine(12, 5), "n": lif(5)}, [*FED, ("a", "b")], InvalidNetwork, "ends at 'b'"),
        ({"a": affine(12, 5), "n": lif(5)}, [*FED, FED[0]], InvalidNetwork, "is there twice"),
        (
            {"a": affine(12, 5), "n": lif(5), "m": lif(5)},
            [*FED, ("a", "m")],
            InvalidNetwork,
            r"nothing reads 'm' \(LIF\)",
        ),
        (
            {"a": affine(12, 5), "n": lif(5), "m": lif(5)},
            [*FED, ("m", "output")],
            InvalidNetwork,
            r"nothing leads from the input to 'm' \(LIF\)",
        ),
        (
            {"a": affine(12, 5), "n": lif(5), "m": lif(5)},
            [*FED, ("a", "m"), ("m", "output")],
            UnsupportedOperator,
            r"'output' \(Output\): it adds up the spikes of n and m",
        ),
        (
            {"a": affine(12, 5), "n": lif(5), "also": ends(12, 5)[1]},
            [*FED, ("n", "also")],
            InvalidNetwork,
            "one output is served, the file has 2",
        ),
        (
            {"n": NESTED_TWICE},
            [("input", "n"), ("n", "output")],
            InvalidNetwork,
            "one input is served, the graph 'n' has 2",
        ),
        (
            {"a": affine(12, 5), "n": nir.LI(every(5, 0.01), every(5, 1.0), every(5, 0.0))}
            | {"m": lif(5)},
            [("input", "a"), ("a", "n"), ("n", "m"), ("m", "output")],
            UnsupportedOperator,
            r"n \(LI\): its potentials would be read in every step",
        ),
    ],
    ids=["sizes", "nowhere", "twice", "unread", "unfed", "sum", "outputs", "inputs", "silent"],
)
def test_graphs_that_cannot_be_served_are_named(
    nodes: dict[str, nir.NIRNode], edges: Edges, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        network(nodes, edges)


def test_a_join_over_the_limit_says_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nir_populations, "MAX_BYTES", 4 * (7 * 12 + 7 + 5 * 7) - 1)

    with pytest.raises(TooLarge, match=r"'n3' \(LIF\): weights up to it take 504 bytes, .* 503"):
        served(chain(LINEAR["a"], lif(7), LINEAR["c"], lif(5)))


def test_a_name_may_stand_for_one_node_alone() -> None:
    inner = graph({"in": FIRST, "n": lif(12), "out": ends(12, 12)[1]})
    nodes = {"input": FIRST, "g": inner, "g.n": lif(12), "output": ends(12, 12)[1]}

    with pytest.raises(InvalidNetwork, match=r"two nodes are called 'g\.n'"):
        served(written(nodes))
