"""Populations that read themselves: hand-computed steps, and layers that they must agree with."""

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from shared.spiking import layers, recurrent
from shared.spiking.layers import Layer, Slope
from shared.spiking.recurrent import Neurons, Population, State
from shared.tensors.dtypes import F32, U8

FRACTION = 16
ONE = 2**FRACTION


def alike(m: int, layer: Layer) -> Neurons:
    values = (layer.decay, layer.leak, layer.threshold, layer.reset)
    filters = (layer.synapse or 0.0, layer.couple, layer.direct)
    return Neurons(*(np.full(m, value, np.float32) for value in (*values, *filters)))


def wired(m: int, lags: int, links: dict[tuple[int, int, int], float]) -> Any:
    """Synapses by lag, neuron that sends, and neuron that reads."""
    rows = [lag * m + source for lag, source, _ in links]
    codes = [round(weight * ONE) for weight in links.values()]
    targets = [target for _, _, target in links]
    return sparse.csr_array((codes, (rows, targets)), shape=(lags * m, m), dtype=np.int64)


def rest(n: int, m: int, lags: int) -> State:
    nothing = np.zeros((n, m), np.float32)
    return State(nothing, nothing, np.zeros((n, lags - 1, m), np.uint8))


def pulses(n: int, steps: int, m: int, seed: int = 3) -> U8:
    return (np.random.default_rng(seed).random((n, steps, m)) < 0.3).astype(np.uint8)


def test_a_spike_arrives_after_its_lag_and_decays_as_by_hand() -> None:
    population = Population(
        alike(2, Layer(0.5, threshold=0.9)), wired(2, 4, {(3, 0, 1): 0.75}), (2,)
    )
    total = np.zeros((1, 6, 2), np.int32)
    total[0, 1, 0] = ONE  # the first neuron spikes in step 1, so 0.75 reaches the second in step 4

    ran = recurrent.run(total, rest(1, 2, 4), population)

    assert ran.spikes[0, :, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert ran.before[0, :, 1].tolist() == [0, 0, 0, 0, 0.75, 0.375]  # 0.5 × 0.75 is left


def test_what_was_on_its_way_arrives_in_the_next_call() -> None:
    population = Population(
        alike(2, Layer(0.5, threshold=0.9)), wired(2, 4, {(3, 0, 1): 0.75}), (2,)
    )
    total = np.zeros((1, 2, 2), np.int32)
    total[0, 1, 0] = ONE

    first = recurrent.run(total, rest(1, 2, 4), population)
    second = recurrent.run(np.zeros((1, 4, 2), np.int32), first.after, population)

    assert first.after.past[0, :, 0].tolist() == [0, 0, 1]
    assert second.before[0, :, 1].tolist() == [0, 0, 0.75, 0.375]


def test_a_loop_of_two_is_lit_once_and_goes_on_for_ever() -> None:
    links = {(0, 0, 1): 1.0, (2, 1, 0): 1.0}  # the second within the step, the first two later
    population = Population(alike(2, Layer(0.0, threshold=0.5)), wired(2, 3, links), (1, 2))
    total = np.zeros((1, 7, 2), np.int32)
    total[0, 0, 0] = ONE

    ran = recurrent.run(total, rest(1, 2, 3), population)

    assert ran.spikes[0].tolist() == [[1, 1], [0, 0]] * 3 + [[1, 1]]


def test_without_a_lag_nothing_reaches_a_stage_that_is_over() -> None:
    links = {(0, 1, 0): 1.0, (0, 0, 0): 1.0}
    population = Population(alike(2, Layer(0.0, threshold=0.5)), wired(2, 2, links), (1, 2))
    total = np.full((1, 5, 2), [0, ONE], np.int32)

    ran = recurrent.run(total, rest(1, 2, 2), population)

    assert not ran.spikes[0, :, 0].any()


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("filtered", [False, True])
def test_neurons_that_do_not_connect_are_a_layer_bit_by_bit(subtract: bool, filtered: bool) -> None:
    given = {"synapse": 0.7, "couple": 0.4, "direct": 0.3} if filtered else {}
    layer = Layer(0.9, leak=-0.1, threshold=0.4, reset=-0.2, subtract=subtract, **given)
    total = np.random.default_rng(5).integers(-ONE, ONE, (3, 40, 21)).astype(np.int32)
    start: F32 = np.full((3, 21), layer.leak, np.float32)
    population = Population(alike(21, layer), wired(21, 2, {}), (21,), subtract)

    ran = recurrent.run(total, rest(3, 21, 2)._replace(v=start), population)
    wanted = layers.run(total, start, layer)

    assert ran.spikes.any()
    np.testing.assert_array_equal(ran.spikes, wanted.spikes)
    np.testing.assert_array_equal(ran.after.v, wanted.v)
    if filtered:
        np.testing.assert_array_equal(ran.after.i, wanted.i)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_two_stages_are_two_layers_with_a_delay_between_forwards_and_back(lag: int) -> None:
    rng = np.random.default_rng(9)
    layer, slope = Layer(0.8, threshold=0.5), Slope()
    weight: F32 = rng.normal(0.0, 0.6, (6, 9)).astype(np.float32)
    codes = layers.codes(weight, FRACTION)
    total = np.zeros((2, 30, 15), np.int32)
    total[:, :, :9] = rng.integers(-ONE, ONE, (2, 30, 9))
    links = {
        (lag, source, 9 + target): float(codes[target, source]) / ONE
        for source in range(9)
        for target in range(6)
    }
    lags = max(lag + 1, 2)
    population = Population(alike(15, layer), wired(15, lags, links), (9, 15))
    outer: F32 = rng.normal(size=(2, 30, 15)).astype(np.float32)

    ran = recurrent.run(total, rest(2, 15, lags), population)
    found = recurrent.slopes(ran, outer, population, slope, None)

    nothing = np.zeros((2, 15), np.float32)
    first = layers.run(np.ascontiguousarray(total[:, :, :9]), nothing[:, :9], layer)
    later = np.pad(first.spikes, ((0, 0), (lag, 0), (0, 0)))[:, :30]
    second = layers.run(layers.sums(later, codes, None), nothing[:, 9:], layer)
    np.testing.assert_array_equal(ran.spikes, np.concatenate([first.spikes, second.spikes], axis=2))
    of_second = layers.slopes(second.before, second.spikes, outer[:, :, 9:], layer, slope)
    back = np.pad(of_second @ weight, ((0, 0), (0, lag), (0, 0)))[:, lag:]
    of_first = layers.slopes(first.before, first.spikes, outer[:, :, :9] + back, layer, slope)
    np.testing.assert_allclose(found[:, :, 9:], of_second, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, :, :9], of_first, rtol=1e-3, atol=1e-4)


def test_truncated_slopes_do_not_pass_the_beginning_of_a_stretch() -> None:
    population = Population(
        alike(2, Layer(0.9, threshold=0.5)), wired(2, 3, {(2, 0, 1): 0.4, (1, 1, 0): 0.3}), (2,)
    )
    total = np.random.default_rng(2).integers(-ONE, ONE, (1, 8, 2)).astype(np.int32)
    ran = recurrent.run(total, rest(1, 2, 3), population)
    outer: F32 = np.zeros((1, 8, 2), np.float32)
    outer[:, 4:] = 1.0

    whole = recurrent.slopes(ran, outer, population, Slope(), None)
    cut = recurrent.slopes(ran, outer, population, Slope(truncate=4), None)

    assert whole[:, :4].any()
    assert not cut[:, :4].any()
    np.testing.assert_array_equal(cut[:, 4:], whole[:, 4:])


@pytest.mark.parametrize("stages", [(3, 3), (0, 5), (6,)])
def test_stages_that_are_not_all_neurons_are_refused(stages: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="stages are of 1 neuron at least and 5 together"):
        recurrent.ends_of(stages, 5)
