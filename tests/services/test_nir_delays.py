"""Delays of NIR, in cycles and outside, and graphs that cannot be put in order."""

import nir
import numpy as np
import pytest

from services.compressor.importers import nir_file, nir_graph, nir_parity
from services.compressor.importers.nir_neurons import Grid
from shared.contracts.errors import InvalidNetwork, SuiteError, TooLarge
from tests.services.nir_files import (
    DT,
    STEPS,
    affine,
    answered,
    chain,
    every,
    lif,
    served,
)
from tests.services.nir_steps import (
    RECURRENT,
    SPIKES,
    Cells,
    Trains,
    ago,
    looped,
    stepped,
    through,
)


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


def test_synapses_of_many_delays_are_kept_once_each() -> None:
    late = nir.Delay(np.arange(60) * DT)
    graph = nir_file.decode(chain(affine(12, 60), lif(60), late, affine(60, 50), lif(50), made=50))

    found = nir_graph.gathered(graph, Grid(DT)).populations["n4"].read.terms

    delayed = [matrix for (_, steps), matrix in found.items() if steps]
    assert len(delayed) == 59
    assert sum(matrix.nnz for matrix in delayed) == 59 * 50


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


def test_parity_follows_delays() -> None:
    delay = nir.Delay(np.array([0, 1, 2, 3, 5, 8, 13]) * DT)

    data = chain(affine(12, 7), lif(7), delay, affine(7, 5), lif(5))

    found = nir_parity.parity(data, dt=DT, steps=100)

    assert [one.apart for one in found] == [0, 0]
    assert found[1].spikes > 0


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
