"""What a spiking network does for some rows is counted spike by spike."""

from dataclasses import replace

import numpy as np
import pytest

from shared.network import activity
from shared.network.activity import FLOAT_ADD, FLOAT_MUL, INT_ADD
from shared.tensors.layouts import dense
from tests.network import networks
from tests.network.learning import RUN
from tests.network.streams import HIDDEN, INPUTS, OUTPUTS, STEPS, spiking, trains


def test_operations_are_spikes_times_the_synapses_that_they_reach() -> None:
    x = trains(2, STEPS)

    found = activity.of(spiking(), {"x": dense(x)}, RUN)

    assert list(found) == ["hidden", "last"]
    hidden, last = found.values()
    assert (hidden.neurons, last.neurons) == (HIDDEN, OUTPUTS)
    assert hidden.operations == x.sum() * HIDDEN
    assert last.operations == hidden.spikes * OUTPUTS > 0
    assert hidden.dense == 2 * STEPS * INPUTS * HIDDEN
    assert hidden.silence == pytest.approx(1 - hidden.spikes / (2 * STEPS * HIDDEN))


def test_synapses_of_weight_zero_do_not_count() -> None:
    weight = spiking().weights["w1"].values.copy()
    weight[2:] = 0
    pruned = replace(spiking(), weights={**spiking().weights, "w1": dense(weight)})
    x = trains(1, STEPS)

    hidden = activity.of(pruned, {"x": dense(x)}, RUN)["hidden"]

    assert hidden.operations == x.sum() * 2
    assert hidden.dense == STEPS * INPUTS * 2


def test_estimate_is_additions_of_synapses_and_updates_of_membranes() -> None:
    silent = np.zeros((1, STEPS, INPUTS), np.float32)
    quiet = activity.of(spiking(), {"x": dense(silent)}, RUN)["hidden"]
    busy = activity.of(spiking(), {"x": dense(silent + 1)}, RUN)["hidden"]

    assert quiet.joules == pytest.approx(STEPS * HIDDEN * 2 * (FLOAT_ADD + FLOAT_MUL))
    assert busy.joules - quiet.joules == pytest.approx(STEPS * INPUTS * HIDDEN * INT_ADD)


def test_activity_of_rows_one_by_one_is_that_of_all_together() -> None:
    x = trains(3, STEPS)

    parts = [activity.of(spiking(), {"x": dense(x[at : at + 1])}, RUN) for at in range(3)]
    whole = activity.of(spiking(), {"x": dense(x)}, RUN)

    for name, found in activity.total(parts).items():
        assert (found.spikes, found.operations, found.dense) == (
            whole[name].spikes,
            whole[name].operations,
            whole[name].dense,
        )
        assert found.silence == pytest.approx(whole[name].silence)
        assert found.joules == pytest.approx(whole[name].joules)


def test_network_without_spikes_has_no_activity() -> None:
    with pytest.raises(ValueError, match="no step of the network is a layer of spiking neurons"):
        activity.of(networks.mlp((4, 3), ("dense",)), {"x": dense(np.zeros((1, 4), "<f4"))}, RUN)
