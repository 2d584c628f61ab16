"""NIR graphs with cycles, and neurons that differ: each against a step written out."""

import nir
import numpy as np
import pytest

from services.compressor.exporters import nir_writer
from services.compressor.importers import nir_parity
from shared.network import execute, streaming
from shared.operators.reference import ReferenceBackend
from shared.tensors.layouts import dense
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
)
from tests.services.nir_steps import (
    SPIKES,
    Cells,
    Trains,
    ago,
    differing,
    looped,
    recurrent,
    stepped,
    through,
)


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
