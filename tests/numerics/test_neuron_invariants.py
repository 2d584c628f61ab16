"""What holds of neurons of every model, whatever arrives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tensors.dtypes import F32
from tests.numerics import neurons
from tests.numerics.neurons import DT, MODELS, REFRACTORY_MODELS


def any_current(seed: int, *shape: int) -> F32:
    """Currents from a little below nothing to ten times the rheobase [A]."""
    return np.random.default_rng(seed).uniform(-1e-10, 2e-9, shape).astype(np.float32)


@given(st.integers(0, 2**31), st.sampled_from(sorted(REFRACTORY_MODELS)))
def test_no_two_spikes_come_within_the_refractory_period(seed: int, name: str) -> None:
    current = any_current(seed, 2, 120, 3)

    spikes = REFRACTORY_MODELS[name].run(current).spikes

    kept = round(neurons.REFRACTORY / DT)
    windows = np.lib.stride_tricks.sliding_window_view(spikes, kept + 1, axis=1)
    assert windows.sum(axis=-1).max() <= 1


@given(st.integers(0, 2**31), st.sampled_from(sorted(REFRACTORY_MODELS)))
def test_a_spike_leads_to_the_reset_and_nothing_stays_above_its_threshold(
    seed: int, name: str
) -> None:
    current = any_current(seed, 2, 120, 3)

    ran = REFRACTORY_MODELS[name].run(current)

    assert ran.spikes.any()
    assert (ran.v[ran.spikes > 0] == np.float32(-0.065)).all()
    lifted = ran.state.a if name.startswith("alif") else np.float32(0.0)
    assert (ran.state.v <= np.float32(-0.05) + lifted).all()


@given(st.lists(st.floats(-1e-9, 1.99e-10), min_size=1, max_size=60))
def test_a_current_that_cannot_reach_the_threshold_makes_no_spike(values: list[float]) -> None:
    # 100 Mohm × 0.2 nA = 20 mV, from -70 mV to the threshold
    for name in ("lif", "lif_euler", "cuba", "cuba_euler", "alif", "alif_euler"):
        assert not MODELS[name].run(np.array(values, np.float32)[:, np.newaxis]).spikes.any(), name


@given(st.integers(0, 2**31), st.sampled_from(sorted(MODELS)), st.integers(0, 40))
def test_rows_do_not_see_each_other_and_a_run_may_be_cut_anywhere(
    seed: int, name: str, cut: int
) -> None:
    model = MODELS[name]
    current = any_current(seed, 3, 40, 2)

    whole = model.run(current)
    alone = [model.run(row) for row in current]
    begun = model.run(current[:, :cut])
    ended = model.run(current[:, cut:], state=begun.state)

    np.testing.assert_array_equal(whole.v, np.stack([one.v for one in alone]))
    np.testing.assert_array_equal(whole.spikes, np.concatenate([begun.spikes, ended.spikes], 1))
    np.testing.assert_array_equal(whole.v, np.concatenate([begun.v, ended.v], 1))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_states_and_spikes_are_float32_and_arguments_stay_as_they_are(name: str) -> None:
    model = MODELS[name]
    start = model.start((4,), model.params)
    before = start.v.copy()

    after, spikes = model.step(start, np.full(4, 5e-9, np.float32), model.params, dt=DT)

    assert after.v.dtype == spikes.dtype == np.float32
    np.testing.assert_array_equal(start.v, before)
