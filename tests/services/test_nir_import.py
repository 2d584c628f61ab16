"""NIR files: spikes as the equations have them, and clear errors for what cannot be served."""

import nir
import numpy as np
import pytest

from services.compressor.importers import nir_file, nir_populations, sandbox
from shared.contracts.errors import InvalidNetwork
from shared.network import artifact
from shared.network.graph import Network
from shared.tensors.dtypes import F32
from tests.services.nir_files import DT, STEPS, affine, chain, every, lif, served
from tests.services.nir_files import answered as answers
from tests.services.nir_files import spikes as train

SPIKES: F32 = train(12)


def answered(network: Network) -> dict[str, np.ndarray]:
    return answers(network, SPIKES)


def simulated(x: np.ndarray, nodes: list[nir.NIRNode]) -> tuple[np.ndarray, np.ndarray]:
    """The equations in float64: spikes of the last neurons, and their last potentials."""
    value, v = x.astype(np.float64), np.zeros(0)
    for node in nodes:
        if isinstance(node, nir.Affine):
            value = value @ node.weight.T + node.bias
            continue
        if isinstance(node, nir.IF):
            decay, gain, leak = 1.0, node.r * DT, np.zeros_like(node.r)
        else:
            decay, leak = np.exp(-DT / node.tau), node.v_leak
            gain = node.r * (1 - decay)
        v, made = np.broadcast_to(leak, (len(x), len(leak))).astype(float), []
        for step in range(value.shape[1]):
            v = leak + decay * (v - leak) + gain * value[:, step]
            fired = (
                v > node.v_threshold if hasattr(node, "v_threshold") else np.zeros(v.shape, bool)
            )
            v = np.where(fired, getattr(node, "v_reset", 0.0), v)
            made.append(fired)
        value = np.stack(made, axis=1).astype(np.float64)
    return value, v


@pytest.mark.parametrize("reset", [0.0, -0.3])
def test_leaky_neurons_spike_as_their_equations_say(reset: float) -> None:
    nodes = [affine(12, 9), lif(9, reset=reset), affine(9, 5), lif(5, reset=reset, leak=-0.2)]

    found = answered(served(chain(*nodes)))

    wanted, _ = simulated(SPIKES, nodes)
    assert wanted.mean() > 0.05
    assert (found["train"] == wanted).mean() > 0.99  # rounding may move a spike by a step
    np.testing.assert_allclose(found["rate"], found["train"].mean(axis=1), rtol=1e-6)


def test_rates_come_first_since_accuracy_and_training_read_the_first_output() -> None:
    assert served(chain(affine(12, 5), lif(5))).outputs == ("rate", "train", "v")
    assert served(chain(affine(12, 5), nir.I(every(5, 9.0)))).outputs == ("v",)  # nothing spikes


def test_neurons_that_do_not_leak_and_those_that_only_integrate() -> None:
    gathering = nir.IF(r=every(9, 300.0), v_threshold=every(9, 1.0), v_reset=every(9, 0.0))
    reading = nir.LI(tau=every(5, 0.02), r=every(5, 2.0), v_leak=every(5, 0.0))
    nodes = [affine(12, 9), gathering, affine(9, 5), reading]

    found = answered(served(chain(*nodes)))

    _, v = simulated(SPIKES, nodes)
    np.testing.assert_allclose(found["v"], v, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("slower", [1.0, 0.5, 3.0])
def test_currents_that_decay_drive_neurons_as_their_equations_say(slower: float) -> None:
    count, tau, rng = 5, 0.008, np.random.default_rng(8)
    constants = {
        "tau_syn": every(count, tau * slower),
        "tau_mem": every(count, tau),
        "r": rng.uniform(5, 9, count),
        "v_leak": every(count, 0.1),
        "v_threshold": rng.uniform(0.9, 1.4, count),
        "w_in": rng.uniform(0.8, 1.2, count),
    }
    constants["v_reset"] = constants["v_leak"]
    joined = affine(12, count)

    found = answered(served(chain(joined, nir.CubaLIF(**constants))))

    current, v = np.zeros((3, count)), np.full((3, count), 0.1)
    arriving = constants["w_in"] * (SPIKES.astype(np.float64) @ joined.weight.T + joined.bias)
    wanted, fine = [], 2000  # Euler steps of a step
    for step in range(20):
        for _ in range(fine):
            h = DT / fine
            rise = (0.1 - v) + constants["r"] * current
            current = current + h / (tau * slower) * (arriving[:, step] - current)
            v = v + h / tau * rise
        fired = v > constants["v_threshold"]
        v = np.where(fired, constants["v_reset"], v)
        wanted.append(fired)
    assert np.mean(wanted) > 0.05
    agreeing = found["train"][:, :20] == np.stack(wanted, axis=1)
    assert agreeing.mean() > 0.98  # a spike of Euler's may fall a step apart


def test_linear_nodes_in_a_row_become_one() -> None:
    first, second = affine(12, 7), affine(7, 5)
    joined = nir.Affine(
        weight=second.weight @ first.weight, bias=second.weight @ first.bias + second.bias
    )
    neurons = lif(5)

    apart, together = (
        answered(served(chain(*nodes)))["train"]
        for nodes in ((first, second, neurons), (joined, neurons))
    )

    np.testing.assert_array_equal(apart, together)


def test_thresholds_may_differ_between_neurons() -> None:
    neurons = lif(5)
    neurons.v_threshold = np.array([0.5, 1.0, 1.5, 2.0, 2.5])
    nodes = [affine(12, 5), neurons]

    found = answered(served(chain(*nodes)))

    assert (found["train"] == simulated(SPIKES, nodes)[0]).mean() > 0.99


def test_weights_have_as_many_places_as_leave_room_for_their_sums() -> None:
    usual, large = (
        served(chain(nir.Linear(np.full((5, 12), weight)), nir.Threshold(every(5, 1.0))))
        for weight in (0.5, 1e4)
    )

    # 12 * 1e4 * 2^14 < 2^31 < 12 * 1e4 * 2^15
    assert [one.steps[1].attributes["fraction"] for one in (usual, large)] == [16, 14]
    assert answered(large)["train"].sum() == 5 * SPIKES.any(axis=2).sum()


def test_by_eulers_rule_a_step_is_a_straight_line() -> None:
    node, wide = lif(5, leak=-0.2), nir.Linear(np.full((5, 12), 0.01))
    data = chain(wide, node)

    found = nir_populations.translate(nir_file.decode(data), dt=DT, steps=STEPS, rule="euler")[0]

    (layer,) = [step for step in found.steps if step.operator == "lif_layer"]
    # 1 - dt / tau = 1 - 0.001 / 0.01; R (dt / tau) W over threshold - leak = 1.2
    assert layer.attributes["decay"] == pytest.approx(0.9, rel=1e-12)
    weight = found.weights[layer.inputs["weight"]].values
    np.testing.assert_allclose(weight[:, 0], node.r * 0.1 * 0.01 / 1.2, rtol=1e-6)


def test_by_eulers_rule_a_current_reaches_the_potential_a_step_later() -> None:
    one, zero = every(5, 1.0), every(5, 0.0)
    node = nir.CubaLI(every(5, 0.004), every(5, 0.01), 3.0 * one, zero, 2.0 * one)
    data = chain(nir.Linear(np.full((5, 12), 0.25)), node)
    found = nir_populations.translate(nir_file.decode(data), dt=DT, steps=STEPS, rule="euler")[0]

    ours = answered(found)["v"]

    current, v = np.zeros((3, 5)), np.zeros((3, 5))
    for step in range(STEPS):
        arriving = SPIKES[:, step].astype(np.float64) @ np.full((12, 5), 0.25)
        v = v + DT / 0.01 * (3.0 * current - v)
        current = current + DT / 0.004 * (2.0 * arriving - current)
    np.testing.assert_allclose(ours, v, rtol=1e-4)


def test_eulers_rule_refuses_steps_longer_than_a_time_constant() -> None:
    with pytest.raises(
        InvalidNetwork, match=r"tau of 'n1' is 0.01 s, shorter than a step of 0.02.* take a shorter"
    ):
        nir_populations.translate(
            nir_file.decode(chain(affine(12, 5), lif(5))), dt=0.02, steps=STEPS, rule="euler"
        )


def changed(**fields: np.ndarray) -> nir.LIF:
    neurons = lif(5)
    for name, value in fields.items():
        setattr(neurons, name, value)
    return neurons


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        (
            (affine(12, 5), changed(tau=every(5, 0.0))),
            InvalidNetwork,
            "tau of .n1. is 0",
        ),
        (
            (affine(12, 5), changed(v_threshold=every(5, -1.0))),
            InvalidNetwork,
            "is -1 above .* positive",
        ),
        ((affine(12, 5), changed(v_reset=every(5, 1.5))), InvalidNetwork, "not below .* at 1.5 of"),
        (
            (affine(12, 5), changed(r=every(5, np.nan))),
            InvalidNetwork,
            r"r of 'n1' \(LIF\) is not finite: nan",
        ),
        ((affine(12, 5), changed(r=every(5, 1e12))), InvalidNetwork, "weights of 'n1' add up to"),
        ((affine(12, 5),), InvalidNetwork, "ends without a neuron"),
        ((affine(12, 4), lif(5)), InvalidNetwork, "'n1' has 5 neurons, 4 values come before"),
        ((affine(12, 4), affine(3, 5), lif(5)), InvalidNetwork, "takes 3 values, 4 come before"),
    ],
    ids=[
        "no_tau",
        "threshold",
        "reset",
        "nan",
        "large",
        "no_neuron",
        "size",
        "width",
    ],
)
def test_what_cannot_be_served_is_named(
    nodes: tuple[nir.NIRNode, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        served(chain(*nodes))


@pytest.mark.parametrize("cut", [0, 10, 500, -50])
def test_a_file_that_is_cut_off_is_no_nir_file(cut: int) -> None:
    data = chain(affine(12, 5), lif(5))

    with pytest.raises(InvalidNetwork, match=f"no NIR file: {len(data[:cut])} bytes"):
        nir_file.decode(data[:cut])


async def test_the_sandbox_reads_nir_files() -> None:
    data = chain(affine(12, 5), lif(5))

    converted = await sandbox.convert(data, "nir", dt=DT, steps=STEPS)

    assert converted.operators == {"Affine": 1, "LIF": 1}
    network = artifact.unpack(converted.artifact)
    np.testing.assert_array_equal(answered(network)["train"], answered(served(data))["train"])
