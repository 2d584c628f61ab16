"""The pictures of neurons: those of the page, drawn by code from what there is to see."""

from collections.abc import Iterator

import numpy as np
import pytest

from ops.bench import codes, neurons
from ops.report import spiking_pictures
from ops.report.pictures import Axes, plt
from shared.tensors.dtypes import F32


@pytest.fixture
def axes() -> Iterator[Axes]:
    figure, made = plt.subplots()
    yield made
    plt.close(figure)


def test_a_raster_has_a_stroke_for_every_spike(axes: Axes) -> None:
    train: F32 = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]], np.float32)

    spiking_pictures.raster(axes, np.array([0.0, 0.5, 1.0]), train, lowest=10.0)

    (strokes,) = axes.collections
    middles = sorted((s[0][0], s[:, 1].mean()) for s in strokes.get_segments())  # type: ignore[attr-defined]
    assert middles == [(0.0, 10.0), (0.5, 12.0), (1.0, 10.0), (1.0, 11.0)]


def test_a_trace_shows_potential_threshold_and_spikes(axes: Axes) -> None:
    times = np.arange(3.0)

    spiking_pictures.traces(axes, times, times * 2, threshold=1.5, spikes=np.array([0, 1, 1]))

    v, threshold = axes.lines
    assert v.get_ydata().tolist() == [0.0, 2.0, 4.0]  # type: ignore[union-attr]
    assert np.unique(threshold.get_ydata()).tolist() == [1.5]
    assert len(axes.collections[0].get_segments()) == 2  # type: ignore[attr-defined]


def test_the_drawn_formula_is_silent_up_to_the_rheobase_and_known_above() -> None:
    amperes = np.array([0.0, 2e-10, 4e-10])

    found = neurons.closed_rate(amperes, neurons.LIF)

    # R i = 40 mV above rest: 2 ms + 20 ms ln((40 - 5) / (40 - 20))
    assert found.tolist()[:2] == [0.0, 0.0]
    assert found[2] == pytest.approx(1 / (2e-3 + 0.02 * np.log(35 / 20)))


def test_numbers_come_back_nearer_with_more_steps() -> None:
    for name, errors in codes.errors().items():
        assert errors[-1] < errors[0] / 4, name
