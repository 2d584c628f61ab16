"""A large population that reads itself, stepped by all groups of a device."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.launch import recurrent
from shared.operators import recurrent_cases, samples
from shared.operators.spec import Case, Tensors
from tests.opencl.test_card_variants import assert_same

CASES = tuple(recurrent_cases.recurrent_layer(np.random.default_rng(3)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_groups_make_the_bits_of_one(
    card: OpenCLBackend, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.setattr(recurrent, "_is_wide", lambda run: True)

    assert_same(card, "recurrent_layer", case.inputs, case.attributes)


@pytest.mark.parametrize(("rows", "way"), [(1, "_by_all"), (1000, "_by_one")])
def test_many_neurons_in_few_rows_are_work_for_all_groups(
    card: OpenCLBackend, monkeypatch: pytest.MonkeyPatch, rows: int, way: str
) -> None:
    monkeypatch.setattr(recurrent, "WIDE_FROM", 40)
    taken: list[str] = []
    for name in ("_by_all", "_by_one"):
        step = getattr(recurrent, name)
        noting = lambda run, name=name, step=step: (taken.append(name), step(run))  # noqa: E731
        monkeypatch.setattr(recurrent, name, noting)
    rng = np.random.default_rng(5)
    inputs = {
        "spikes": recurrent_cases.train(rng, rows, 3, 8),
        "weight": samples.weight(rng, 40, 8),
        "recurrent": recurrent_cases.synapses(rng, 40, 2),
        "neurons": recurrent_cases.neurons(rng, 40),
    }

    assert_same(card, "recurrent_layer", inputs)
    assert_same(card, "recurrent_layer", {**inputs, **smaller(rng)})

    assert taken == [way, "_by_one"]


def smaller(rng: np.random.Generator) -> Tensors:
    """A population of a neuron fewer than is worth it, for as many inputs."""
    return {
        "weight": samples.weight(rng, 39, 8),
        "recurrent": recurrent_cases.synapses(rng, 39, 2),
        "neurons": recurrent_cases.neurons(rng, 39),
    }
