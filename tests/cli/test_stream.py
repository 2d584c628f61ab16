"""Files of spikes for `ellesmere stream`: what is read, and what is said of those that are none."""

from pathlib import Path

import numpy as np
import pytest

from ops.cli.stream import _spikes
from shared.contracts.errors import InvalidFile


def written(folder: Path, text: str) -> Path:
    path = folder / "x.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("head", ["", "step,neuron\n", "# events\n", '"step","neuron"\n'])
def test_lines_are_spikes_and_a_heading_is_none(tmp_path: Path, head: str) -> None:
    spikes = _spikes(written(tmp_path, head + "2,1\n0,3\n"), 4)

    assert spikes.shape == (1, 3, 4)
    assert np.argwhere(spikes[0]).tolist() == [[0, 3], [2, 1]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0,1\n2,4\n", r"event 1 is 2,4 \(step,neuron\); steps count from 0, neurons 0\.\.3"),
        ("-1,3\n", r"event 0 is -1,3 "),
        ("1,2,3\n", "an event has 3 numbers, not step,neuron"),
        ("0.5,1\n", "could not convert string '0.5'"),
        ("step,neuron\n", "holds no event"),
        ("", "holds no event"),
        ("9000000,1\n", "goes on for 9000001 steps, at most 1000000"),
    ],
)
def test_the_first_line_that_is_no_spike_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidFile, match=told) as caught:
        _spikes(written(tmp_path, text), 4)

    assert "step,neuron" in caught.value.fix


@pytest.mark.parametrize("shape", [(0, 4), (0, 5, 4), (4,), (1, 2, 3, 4)])
def test_arrays_that_are_no_stream_are_refused_with_their_shape(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))

    with pytest.raises(InvalidFile, match="shape") as caught:
        _spikes(tmp_path / "x.npy", 4)

    assert str(shape) in str(caught.value)
