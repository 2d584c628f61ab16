"""NIR graphs with cycles, delays and neurons that differ: each against a step written out here."""

from collections.abc import Callable

import nir
import numpy as np
import pytest

from services.compressor.exporters import nir_writer
from services.compressor.importers import nir_parity
from shared.contracts.errors import InvalidNetwork, SuiteError, TooLarge
from shared.network import execute, streaming
from shared.operators.reference import ReferenceBackend
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense
from tests.services.nir_files import (
    DT,
    STEPS,
    Edges,
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
Trains = np.ndarray


class Cells:
    """Leaky neurons in float64, a step at a time."""

    def __init__(self, node: nir.LIF, rows: int) -> None:
        self.node, self.left = node, np.exp(-DT / node.tau)
        self.v = np.tile(node.v_leak, (rows, 1))

    def step(self, current: Trains) -> Trains:
        node = self.node
        u = node.v_leak + self.left * (self.v - node.v_leak) + (1 - self.left) * node.r * current
        fired = u > node.v_threshold
        self.v = np.where(fired, node.v_reset, u)
        return fired.astype(float)


def through(node: nir.Affine, x: Trains) -> Trains:
    return np.asarray(x @ node.weight.T + node.bias)


def ago(trains: list[Trains], steps: int, like: Trains) -> Trains:
    return trains[-steps] if len(trains) >= steps else np.zeros_like(like)


def stepped(step: Callable[[Trains, list[Trains]], Trains], x: F32 = SPIKES) -> Trains:
    """What a step makes of every input, given all that it made before."""
    made: list[Trains] = []
    for at in range(x.shape[1]):
        made.append(step(x[:, at].astype(float), made))
    return np.stack(made, axis=1)


def looped(edges: Edges, **nodes: nir.NIRNode) -> bytes:
    first, last = ends(12, 5)
    return written({"input": first, **nodes, "output": last}, edges)


def differing(count: int, seed: int = 1) -> nir.LIF:
    """Neurons with constants of their own."""
    rng = np.random.default_rng(seed)
    return nir.LIF(
        tau=rng.uniform(0.004, 0.03, count),
        r=rng.uniform(8, 14, count),
        v_leak=rng.uniform(-0.2, 0.1, count),
        v_threshold=rng.uniform(0.7, 1.2, count),
        v_reset=rng.uniform(-0.3, 0.2, count),
    )


RECURRENT = [("input", "a"), ("a", "n"), ("n", "output"), ("n", "back"), ("back", "n")]


def recurrent(node: nir.NIRNode) -> bytes:
    """Five neurons that read themselves."""
    return looped(RECURRENT, a=affine(12, 5), n=node, back=affine(5, 5, seed=3))


@pytest.mark.parametrize("node", [lif(5), differing(5)], ids=["alike", "differing"])
def test_neurons_read_what_they_fired_a_step_before(node: nir.LIF) -> None:
    a, back, cells = affine(12, 5), affine(5, 5, seed=3), Cells(node, 3)

    def step(x: Trains, made: list[Trains]) -> Trains:
        last = ago(made, 1, np.zeros((3, 5)))
        return cells.step(through(a, x) + through(back, last))

    found = answered(served(recurrent(node)), SPIKES)

    assert found["train"].any()
    np.testing.assert_array_equal(found["train"], stepped(step))


def test_in_a_cycle_of_two_the_second_reads_the_first_in_the_same_step() -> None:
    nodes = {"a": affine(12, 7), "m": lif(7), "b": affine(7, 5), "n": lif(5), "c": affine(5, 7)}
    edges = [("input", "a"), ("a", "m"), ("m", "b"), ("b", "n"), ("n", "output")]
    edges += [("n", "c"), ("c", "m")]
    first, second = Cells(nodes["m"], 3), Cells(nodes["n"], 3)

    def step(x: Trains, made: list[Trains]) -> Trains:
        last = ago(made, 1, np.zeros((3, 5)))
        fired = first.step(through(nodes["a"], x) + through(nodes["c"], last))
        return second.step(through(nodes["b"], fired))

    found = answered(served(looped(edges, **nodes)), SPIKES)

    assert found["train"].any()
    np.testing.assert_array_equal(found["train"], stepped(step))


def test_an_answer_in_the_middle_of_a_cycle_is_that_population_alone() -> None:
    nodes = {"a": affine(12, 5), "m": lif(5), "b": affine(5, 7), "n": lif(7), "c": affine(7, 5)}
    edges = [("input", "a"), ("a", "m"), ("m", "output"), ("m", "b"), ("b", "n")]
    edges += [("n", "c"), ("c", "m")]
    first, second = Cells(nodes["m"], 3), Cells(nodes["n"], 3)
    last = [np.zeros((3, 7))]

    def step(x: Trains, _: list[Trains]) -> Trains:
        fired = first.step(through(nodes["a"], x) + through(nodes["c"], last[-1]))
        last.append(second.step(through(nodes["b"], fired)))
        return fired

    found = answered(served(looped(edges, **nodes)), SPIKES)

    np.testing.assert_array_equal(found["train"], stepped(step))
    np.testing.assert_allclose(found["rate"], found["train"].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["v"], first.v, atol=1e-3)


def test_delays_of_each_neuron_between_layers() -> None:
    a, m, b, n = affine(12, 7), lif(7), affine(7, 5), lif(5)
    late = np.array([0, 1, 2, 3, 5, 8, 13])
    edges = [("input", "a"), ("a", "m"), ("m", "d"), ("d", "b"), ("b", "n"), ("n", "output")]
    first, second = Cells(m, 3), Cells(n, 3)
    fired: list[Trains] = []

    def step(x: Trains, _: list[Trains]) -> Trains:
        fired.append(first.step(through(a, x)))
        seen = np.stack(
            [ago(fired, k + 1, np.zeros((3, 7)))[:, j] for j, k in enumerate(late)], axis=1
        )
        return second.step(through(b, seen))

    data = looped(edges, a=a, m=m, d=nir.Delay(late * DT), b=b, n=n)

    np.testing.assert_array_equal(answered(served(data), SPIKES)["train"], stepped(step))


def test_what_comes_in_can_be_delayed() -> None:
    plain = answered(served(chain(affine(12, 5), lif(5))), SPIKES)["train"]
    shifted = np.pad(SPIKES, ((0, 0), (4, 0), (0, 0)))[:, :STEPS]
    wanted = answered(served(chain(affine(12, 5), lif(5))), shifted)["train"]

    found = answered(served(chain(nir.Delay(every(12, 4 * DT)), affine(12, 5), lif(5))), SPIKES)

    assert (wanted != plain).any()
    np.testing.assert_array_equal(found["train"], wanted)


def test_what_goes_out_can_be_delayed() -> None:
    plain = answered(served(chain(affine(12, 5), lif(5))), SPIKES)["train"]

    found = answered(served(chain(affine(12, 5), lif(5), nir.Delay(every(5, 3 * DT)))), SPIKES)

    np.testing.assert_array_equal(found["train"][:, 3:], plain[:, :-3])
    assert not found["train"][:, :3].any()


def test_a_delay_on_the_way_back_takes_the_place_of_the_one_step() -> None:
    a, n, back = affine(12, 5), lif(5), affine(5, 5, seed=3)
    edges = [*RECURRENT[:3], ("n", "d"), ("d", "back"), ("back", "n")]
    cells = Cells(n, 3)

    def step(x: Trains, made: list[Trains]) -> Trains:
        return cells.step(through(a, x) + through(back, ago(made, 6, np.zeros((3, 5)))))

    data = looped(edges, a=a, n=n, d=nir.Delay(every(5, 6 * DT)), back=back)

    np.testing.assert_array_equal(answered(served(data), SPIKES)["train"], stepped(step))


def test_a_cycle_of_two_is_opened_at_its_delay() -> None:
    nodes = {"a": affine(12, 7), "m": lif(7), "d": nir.Delay(every(7, 2 * DT)), "b": affine(7, 5)}
    nodes |= {"n": lif(5), "c": affine(5, 7)}
    edges = [("input", "a"), ("a", "m"), ("m", "d"), ("d", "b"), ("b", "n"), ("n", "output")]
    edges += [("n", "c"), ("c", "m")]  # in the same step: the way round takes two steps, not three
    first, second = Cells(nodes["m"], 3), Cells(nodes["n"], 3)
    fired: list[Trains] = []

    def step(x: Trains, _: list[Trains]) -> Trains:
        made = second.step(through(nodes["b"], ago(fired, 2, np.zeros((3, 7)))))
        fired.append(first.step(through(nodes["a"], x) + through(nodes["c"], made)))
        return made

    found = answered(served(looped(edges, **nodes)), SPIKES)

    assert found["train"].any()
    np.testing.assert_array_equal(found["train"], stepped(step))


def test_neurons_that_differ_are_served_without_a_cycle_too() -> None:
    node = differing(5)
    cells = Cells(node, 3)

    found = answered(served(chain(affine(12, 5), node)), SPIKES)

    wanted = stepped(lambda x, _: cells.step(through(affine(12, 5), x)))
    np.testing.assert_array_equal(found["train"], wanted)


def test_a_cycle_in_a_graph_inside_is_as_one_outside() -> None:
    first, last = ends(5, 5)
    inner = {"input": first, "n": lif(5), "back": affine(5, 5, seed=3), "output": last}
    edges = [("input", "n"), ("n", "back"), ("back", "n"), ("n", "output")]
    within = nir.NIRGraph(nodes=inner, edges=edges, type_check=False)

    found = answered(served(chain(affine(12, 5), within)), SPIKES)

    np.testing.assert_array_equal(
        found["train"], answered(served(recurrent(lif(5))), SPIKES)["train"]
    )


def test_a_cycle_streams_in_pieces_as_in_one() -> None:
    network = served(recurrent(differing(5)))
    whole = answered(network, SPIKES)["train"]
    way = streaming.opened(network, rows=3, steps=20)
    carried: dict[str, object] = {}
    parts = []

    for at in range(0, STEPS, 20):
        opened = execute.load(way.later if at else way.first, ReferenceBackend())
        made = opened.run({"x": dense(SPIKES[:, at : at + 20].copy()), **carried})
        carried = {port: made[value] for port, value in way.carried.items()}
        parts.append(made["train"].values)

    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("node", [lif(5), differing(5)], ids=["alike", "differing"])
def test_parity_of_a_cycle_says_how_close_it_is(node: nir.LIF) -> None:
    (found,) = nir_parity.parity(recurrent(node), dt=DT, steps=100)

    assert found.spikes > 0
    assert (found.apart, found.apart_as_a_whole) == (0, 0)
    assert 0.0 < found.membrane < 1e-3


def test_parity_follows_delays() -> None:
    delay = nir.Delay(np.array([0, 1, 2, 3, 5, 8, 13]) * DT)

    data = chain(affine(12, 7), lif(7), delay, affine(7, 5), lif(5))

    found = nir_parity.parity(data, dt=DT, steps=100)

    assert [one.apart for one in found] == [0, 0]
    assert found[1].spikes > 0


def two_populations(late: int) -> bytes:
    """A cycle of neurons that differ and filter, read by a layer after it."""
    rng = np.random.default_rng(8)
    filtered = nir.CubaLIF(
        tau_syn=rng.uniform(0.003, 0.01, 7),
        tau_mem=rng.uniform(0.01, 0.03, 7),
        r=every(7, 30.0),
        v_leak=every(7, 0.0),
        v_threshold=every(7, 1.0),
        v_reset=every(7, 0.0),
        w_in=every(7, 1.0),
    )
    nodes = {"a": affine(12, 7), "m": filtered, "b": affine(7, 6), "n": differing(6)}
    nodes |= {"c": affine(6, 7), "s": affine(6, 6, seed=4), "d": nir.Delay(every(6, late * DT))}
    nodes |= {"e": affine(6, 5), "o": lif(5)}
    edges = [("input", "a"), ("a", "m"), ("m", "b"), ("b", "n"), ("n", "d"), ("d", "c"), ("c", "m")]
    edges += [("n", "s"), ("s", "n"), ("n", "e"), ("e", "o"), ("o", "output")]
    return looped(edges, **nodes)


@pytest.mark.parametrize("late", [0, 1, 4])
def test_a_cycle_is_written_and_read_again_the_same_bit_by_bit(late: int) -> None:
    network = served(two_populations(late))
    wanted = answered(network, SPIKES)

    again = answered(served(nir_writer.encode(network, dt=DT)), SPIKES)

    assert wanted["train"].any()
    for name in ("train", "v"):
        np.testing.assert_array_equal(again[name], wanted[name])


LINEAR = [("input", "a"), ("a", "n"), ("a", "b"), ("b", "a"), ("n", "output")]
APART = [("input", "n"), ("n", "output"), ("a", "m"), ("m", "a"), ("m", "n")]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            looped(LINEAR, a=affine(12, 12), b=affine(12, 12), n=lif(12)),
            InvalidNetwork,
            "'(a|b)' reads what it makes itself within a step: a cycle needs a neuron",
        ),
        (
            looped(APART, n=lif(12), a=affine(12, 12), m=lif(12)),
            InvalidNetwork,
            "nothing leads from the input to '(a|m)'",
        ),
        (
            chain(nir.Delay(every(12, 2.0)), affine(12, 5), lif(5)),
            TooLarge,
            r"'n0' \(Delay\) delays by 2 s, over the limit of 1000 steps of 0.001 s",
        ),
        (
            chain(nir.Delay(every(12, -0.01)), affine(12, 5), lif(5)),
            InvalidNetwork,
            r"delays by -0.01 s; 0 is the least",
        ),
        (
            chain(affine(12, 5), nir.Delay(every(7, 0.001)), lif(5)),
            InvalidNetwork,
            "'n1' delays 7 values, 5 come before it",
        ),
    ],
    ids=["linear", "apart", "long", "negative", "size"],
)
def test_cycles_and_delays_that_cannot_be_served_are_named(
    data: bytes, error: type[SuiteError], message: str
) -> None:
    with pytest.raises(error, match=message):
        served(data)


def test_a_long_chain_of_delays_is_put_in_order_without_recursion() -> None:
    data = chain(*(nir.Delay(every(12, 0.0)) for _ in range(1500)), affine(12, 5), lif(5))

    found = answered(served(data), SPIKES)

    np.testing.assert_array_equal(
        found["train"], answered(served(chain(affine(12, 5), lif(5))), SPIKES)["train"]
    )
