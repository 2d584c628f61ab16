"""Layers of spiking neurons: steps by hand, slopes by their definition, rates to within a spike."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.spiking import layers, rates
from shared.spiking.layers import SURROGATES, Layer, Slope, Surrogate
from shared.tensors.dtypes import F32, I32

ONE = 1 << 16  # the code of 1 at 16 binary places


def sums(*steps: float) -> I32:
    """One neuron, one row."""
    return (np.array(steps)[np.newaxis, :, np.newaxis] * ONE).astype(np.int32)


def rest(rows: int = 1, neurons: int = 1) -> F32:
    return np.zeros((rows, neurons), np.float32)


def test_a_membrane_leaks_spikes_and_is_reset() -> None:
    # 0.6; 0.5 * 0.6 + 0.6 = 0.9; 0.5 * 0.9 + 0.6 = 1.05 > 1: spike, reset to 0; then 0.6 again
    spikes, v, _, before = layers.run(sums(0.6, 0.6, 0.6, 0.6), rest(), Layer(decay=0.5))

    assert spikes.ravel().tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(before.ravel(), [0.6, 0.9, 1.05, 0.6], atol=1e-4)
    np.testing.assert_allclose(v, [[0.6]], atol=1e-4)


def test_a_reset_by_subtraction_keeps_what_is_left_over() -> None:
    # 0.75; 1.5 > 1: spike, 0.5 is left; 1.25 > 1: spike, 0.25; 1.0 is not above 1
    layer = Layer(decay=1.0, subtract=True)

    spikes, v, *_ = layers.run(sums(0.75, 0.75, 0.75, 0.75), rest(), layer)

    assert spikes.ravel().tolist() == [0, 1, 1, 0]
    assert v.tolist() == [[1.0]]


def test_a_membrane_leaks_towards_its_leak_potential() -> None:
    # -1 + 0.5 * (0 + 1) = -0.5, then -1 + 0.5 * 0.5 = -0.75
    _, v, _, before = layers.run(sums(0, 0), rest(), Layer(decay=0.5, leak=-1.0, reset=-2.0))

    assert before.ravel().tolist() == [-0.5, -0.75]
    assert v.tolist() == [[-0.75]]


@given(st.floats(1.05, 20.0), st.floats(5e-3, 50e-3))
def test_the_rate_is_the_closed_formula(drive: float, tau: float) -> None:
    dt, steps = tau / 2000, 400_000
    decay = exp(-dt / tau)
    layer = Layer(decay=decay, fraction=24)
    arrived = round(drive * (1 - decay) * 2**24) / 2**24  # what a code can say
    total = np.full((1, steps, 1), arrived * 2**24, np.int32)

    spikes, *_ = layers.run(total[:, : steps // 40], rest(), layer)

    period = tau * log(drive / (drive - 1))  # from 0 to 1 under a constant current
    count = int(spikes.sum())
    if count >= 2:
        times = np.flatnonzero(spikes.ravel()) * dt
        mean = (times[-1] - times[0]) / (count - 1)
        assert mean == pytest.approx(period, rel=0.005, abs=dt)


@given(st.integers(0, 1000), st.booleans())
def test_what_arrives_is_kept_spiked_away_or_still_there(seed: int, fresh: bool) -> None:
    rng = np.random.default_rng(seed)
    total = (rng.uniform(-0.5, 1.0, (3, 50, 4)) * ONE).astype(np.int32)
    start: F32 = rest(3, 4) if fresh else rng.uniform(0, 0.9, (3, 4)).astype(np.float32)

    spikes, v, *_ = layers.run(total, start, Layer(decay=1.0, subtract=True))

    arrived = start + total.sum(axis=1) / ONE
    np.testing.assert_allclose(v + spikes.sum(axis=1), arrived, atol=1e-3)


def test_a_synapse_carries_what_arrived_into_later_steps() -> None:
    # arrives 1, 0, 0: currents 1, 0.5, 0.25; potentials 0.25, 0.5 * 1, + 0.5 * 0.5
    layer = Layer(decay=1.0, threshold=9.0, synapse=0.5, couple=0.5, direct=0.25)

    _, v, i, before = layers.run(sums(1, 0, 0), rest(), layer)

    assert before.ravel().tolist() == [0.25, 0.75, 1.0]
    assert (v.item(), i.item()) == (1.0, 0.25)


def test_a_train_may_be_cut_anywhere() -> None:
    rng = np.random.default_rng(9)
    layer = Layer(decay=0.9, threshold=0.4, synapse=0.7, couple=0.3, direct=0.2)
    total = (rng.uniform(-0.5, 1.0, (2, 12, 5)) * ONE).astype(np.int32)

    whole = layers.run(total, rest(2, 5), layer)
    first = layers.run(total[:, :7], rest(2, 5), layer)
    second = layers.run(total[:, 7:], first.v, layer, first.i)

    spikes = np.concatenate([first.spikes, second.spikes], axis=1)
    np.testing.assert_array_equal(spikes, whole.spikes)
    np.testing.assert_array_equal(second.v, whole.v)


def test_slopes_pass_through_synapses() -> None:
    # two steps, no reset: u1 = d a1, u2 = decay u1 + c a1 + d a2 with d 0.2, c 0.3, decay 0.9
    layer = Layer(decay=0.9, threshold=9.0, synapse=0.5, couple=0.3, direct=0.2)
    made = layers.run(sums(0.1, 0.1), rest(), layer)
    last = np.ones((1, 1), np.float32)

    found = layers.slopes(
        made.before, made.spikes, np.zeros((1, 2, 1), np.float32), layer, Slope("arctan", 1.0), last
    )

    np.testing.assert_allclose(found.ravel(), [0.9 * 0.2 + 0.3, 0.2], rtol=1e-6)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_slopes_are_the_sum_over_every_later_spike(surrogate: Surrogate, subtract: bool) -> None:
    rng = np.random.default_rng(3)
    layer = Layer(decay=0.8, threshold=0.7, subtract=subtract)
    total = (rng.uniform(-0.2, 0.8, (2, 9, 3)) * ONE).astype(np.int32)
    spikes, _, _, before = layers.run(total, rest(2, 3), layer)
    outer, last = rng.standard_normal(before.shape), rng.standard_normal((2, 3))

    found = layers.slopes(
        before, spikes, outer.astype("<f4"), layer, Slope(surrogate, 3.0), last.astype("<f4")
    )

    local = outer * SURROGATES[surrogate](before - np.float32(0.7), np.float32(3.0))
    passed = np.ones_like(spikes) if subtract else 1 - spikes.astype(np.int64)
    for step in range(9):
        wanted, way = np.zeros((2, 3)), np.ones((2, 3))
        for later in range(step, 9):
            wanted += way * local[:, later]
            way = way * passed[:, later] * (0.8 if later < 8 else 1.0)
        np.testing.assert_allclose(found[:, step], wanted + way * last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("synapse", [None, 0.6])
def test_truncated_slopes_are_those_of_every_stretch_by_itself(synapse: float | None) -> None:
    rng = np.random.default_rng(5)
    layer = Layer(decay=0.8, threshold=0.7, synapse=synapse, couple=0.4, direct=0.3)
    total = (rng.uniform(-0.2, 1.2, (2, 10, 3)) * ONE).astype(np.int32)
    made = layers.run(total, rest(2, 3), layer)
    outer = rng.standard_normal(total.shape).astype(np.float32)
    last = rng.standard_normal((2, 3)).astype(np.float32)

    found = layers.slopes(made.before, made.spikes, outer, layer, Slope(truncate=4), last)

    stretches = [slice(0, 4), slice(4, 8), slice(8, 10)]
    for stretch in stretches:
        alone = layers.slopes(
            made.before[:, stretch],
            made.spikes[:, stretch],
            outer[:, stretch],
            layer,
            Slope(),
            last if stretch is stretches[-1] else None,
        )
        np.testing.assert_array_equal(found[:, stretch], alone)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"surrogate": "step"}, "fast_sigmoid, arctan, triangle; got 'step'"),
        ({"steep": 0.0}, r"steep is positive and finite, got 0\.0"),
        ({"truncate": -1}, "number of steps or 0, got -1"),
    ],
)
def test_what_is_no_slope_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slope(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_is_even_largest_at_the_threshold_and_falls(name: Surrogate) -> None:
    x = np.linspace(-3, 3, 601, dtype=np.float32)

    slope = SURROGATES[name](x, np.float32(2.0))

    np.testing.assert_allclose(slope, slope[::-1], rtol=1e-5)
    assert slope.argmax() == 300
    assert (np.diff(slope[300:]) <= 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decay": 1.5}, r"decay is a share of 0\.\.1, got 1\.5"),
        ({"decay": float("nan")}, "decay is a share"),
        ({"decay": 0.5, "threshold": -1.0}, r"above the reset 0\.0, got -1\.0"),
        ({"decay": 0.5, "threshold": 0.0, "subtract": True}, "above 0, which is subtracted"),
        ({"decay": 0.5, "leak": float("inf")}, "leak and reset are finite"),
        ({"decay": 0.5, "fraction": 30}, "0 to 24 binary places, got 30"),
    ],
)
def test_what_is_no_neuron_is_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layer(**given)  # type: ignore[arg-type]  # some are wrong on purpose


def test_codes_saturate_and_nan_is_nothing() -> None:
    weight = np.array([0.5, 2.0**-17, 1e9, -1e9, np.nan], np.float32)

    assert layers.codes(weight, 16).tolist() == [1 << 15, 0, 2**31 - 1, -(2**31), 0]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.integers(1, 200))
def test_even_spikes_come_as_often_as_asked_to_within_one(x: list[float], steps: int) -> None:
    spikes = rates.evenly(np.array([x], np.float32), steps)

    assert np.abs(spikes.sum(axis=1)[0] - np.array(x) * steps).max() < 1 + 1e-4 * steps


def test_random_spikes_come_as_often_as_asked_and_are_independent() -> None:
    x = np.repeat(np.float32([[0.1, 0.5, 0.9]]), 1000, axis=1)

    spikes = rates.randomly(x, 200, seed=5)[0].astype(np.float64)

    assert spikes[:, :1000].mean() == pytest.approx(0.1, abs=0.005)
    assert spikes[:, 1000:2000].mean() == pytest.approx(0.5, abs=0.005)
    assert spikes[:, 2000:].mean() == pytest.approx(0.9, abs=0.005)
    half = spikes[:, 1000:2000]
    neighbours = [np.corrcoef(half[:, i], half[:, i + 1])[0, 1] for i in range(200)]
    assert abs(np.mean(neighbours)) < 0.02
    assert abs(np.corrcoef(half[:-1].ravel(), half[1:].ravel())[0, 1]) < 0.02


def test_a_row_has_the_same_random_spikes_in_any_batch() -> None:
    x = np.random.default_rng(1).random((4, 30)).astype(np.float32)

    together = rates.randomly(x, 20, seed=3)

    np.testing.assert_array_equal(together[2:3], rates.randomly(x[2:3], 20, seed=3))
