"""What is reported of a NIR file against its equations, and the equations themselves."""

from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.compressor.importers import nir_linear, nir_parity, nir_reference
from tests.services.nir_files import affine, chain, every, lif

RNG = np.random.default_rng(3)


def dyadic(*shape: int) -> np.ndarray:
    """Weights that 16 binary places hold."""
    return RNG.integers(-64, 128, shape) / 256


def test_what_rounding_cannot_touch_is_the_same_to_the_last_spike() -> None:
    exact = nir.IF(every(5, 512.0), every(5, 1.0), every(5, 0.0))  # 512 * dt = 1/2

    (found,) = nir_parity.parity(chain(nir.Linear(dyadic(5, 12)), exact), dt=2.0**-10, steps=200)

    assert found.spikes > 100
    assert (found.apart, found.shift, found.apart_as_a_whole) == (0, 0.0, 0)
    assert found.membrane < 1e-9


def cuba(count: int) -> nir.CubaLIF:
    zero, one = every(count, 0.0), every(count, 1.0)
    return nir.CubaLIF(every(count, 0.004), every(count, 0.01), 9 * one, zero, one, zero, one)


@pytest.mark.parametrize(
    "last",
    [
        lif(5, reset=-0.3, leak=-0.2),
        cuba(5),
        nir.Threshold(every(5, 0.6)),
        nir.LI(every(5, 0.02), every(5, 2.0), every(5, 0.1)),
        nir.I(every(5, 9.0)),
        nir.CubaLI(every(5, 0.02), every(5, 0.01), every(5, 2.0), every(5, 0.1)),
    ],
    ids=lambda node: type(node).__name__,
)
def test_every_node_is_within_the_rounding_of_weights(last: nir.NIRNode) -> None:
    found = nir_parity.parity(chain(affine(12, 9), lif(9), affine(9, 5), last), dt=1e-3, steps=200)

    assert [one.kind for one in found] == ["LIF", type(last).__name__]
    for one in found:
        assert one.membrane < 2e-3
        assert one.apart <= one.spikes * 2e-3


def test_images_are_compared_too() -> None:
    conv = nir.Conv2d((6, 6), dyadic(3, 2, 3, 3), 1, 1, 1, 1, dyadic(3))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    constants = {name: np.full((3, 6, 6), 0.5) for name in ("r", "v_threshold")}

    found = nir_parity.parity(
        chain(conv, nir.IF(**constants), pool, nir.IF(every(27, 500.0), every(27, 1.0)), size=72),
        dt=1.0,
        steps=20,
    )

    assert [one.neurons for one in found] == [108, 27]
    assert [one.apart for one in found] == [0, 0]


def test_neurons_of_the_reference_follow_their_closed_solution() -> None:
    node = nir.LI(every(1, 0.02), every(1, 3.0), every(1, 0.5))

    found = nir_reference.neurons(node, np.full((1, 10, 1), 2.0), dt=1e-3)

    # v(t) = v_leak + R S (1 - exp(-t / tau))
    t = np.arange(1, 11) * 1e-3
    np.testing.assert_allclose(found.v[0, :, 0], 0.5 + 3.0 * 2.0 * (1 - np.exp(-t / 0.02)))


def test_a_neuron_of_the_reference_spikes_above_its_threshold_alone() -> None:
    node = nir.IF(every(1, 1.0), every(1, 2.0), every(1, 0.25))

    found = nir_reference.neurons(node, np.ones((1, 6, 1)), dt=1.0)

    # 1, 2 (at the threshold: none), 3 -> 0.25, 1.25, 2.25 -> 0.25, 1.25
    np.testing.assert_allclose(found.v[0, :, 0], [1, 2, 0.25, 1.25, 0.25, 1.25], atol=1e-12)
    assert found.spikes[0, :, 0].tolist() == [False, False, True, False, True, False]


@given(
    taps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.one_of(st.integers(0, 2), st.sampled_from(["same", "valid"])),
    groups=st.integers(1, 2),
)
def test_both_definitions_of_a_convolution_agree(
    taps: tuple[int, int], stride: int, dilation: int, padding: Any, groups: int
) -> None:
    stride = 1 if padding == "same" else stride
    weight, bias = dyadic(2 * groups, 3, *taps), dyadic(2 * groups)
    node = nir.Conv2d((7, 8), weight, stride, padding, dilation, groups, bias)
    x = dyadic(4, 3 * groups * 7 * 8)

    matrix, offset, _ = nir_linear.linear("n", node, (3 * groups, 7, 8))

    wanted = nir_reference.linear(node, x.reshape(4, -1, 7, 8)).reshape(4, -1)
    assert matrix is not None
    np.testing.assert_array_equal((matrix @ x.T).T + offset, wanted)


def test_spikes_are_paired_in_their_order() -> None:
    ours, theirs = np.zeros((2, 1, 9, 1), bool)
    ours[0, [1, 4, 6], 0] = True
    theirs[0, [1, 5, 8], 0] = True  # 0, 1 and 2 steps later

    assert nir_parity._shift(ours, theirs, 0.5) == 2 * 0.5
    assert nir_parity._shift(ours, theirs * False, 0.5) is None
