"""Spikes cost what exceeds a target; the slope of that goes through their surrogates."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from shared.network.graph import Network, Step
from shared.network.training import backward, loop, restraint, scoring, state
from shared.network.training.backward import Taped
from shared.network.training.loop import Rows
from shared.network.training.plan import ActivityPlan, TrainPlan
from shared.network.training.scoring import Scored
from shared.network.training.state import TrainState
from shared.operators import spike_trains
from shared.spiking.layers import NEVER
from shared.tensors.layouts import dense
from tests.network import learning, networks, streams
from tests.network.learning import RUN
from tests.network.streams import OUTPUTS, STEPS, spiking, trains

F64 = npt.NDArray[np.float64]
ROWS = 6
PLAN = TrainPlan(rate=0.02, epochs=6, batch=24)
STEEP = 4.0  # of the surrogate, where no step says otherwise


@pytest.fixture(scope="module")
def rows() -> Rows:
    return streams.labelled(240)


def read(network: Network) -> Network:
    """The loss reads the rates of the last neurons."""
    return replace(network, outputs=("rate",))


def scored(network: Network | None = None) -> Scored:
    x, labels = trains(ROWS, STEPS), np.arange(ROWS) % OUTPUTS
    return scoring.forward(read(network or spiking()), x, labels, "cross_entropy", RUN)


def rates(taped: Taped) -> dict[str, float]:
    steps = restraint.layers(taped.network, outputs=True)
    return {step.name: restraint.rate(taped, step) for step in steps}


def trained(plan: TrainPlan, rows: Rows, *, stop: int | None = None) -> TrainState:
    return learning.go_on(loop.start(read(spiking()), plan), plan, rows, stop=stop)


def paying(network: Network, *, outputs: bool = False) -> list[str]:
    return [step.name for step in restraint.layers(network, outputs=outputs)]


def test_cost_is_the_square_of_what_a_rate_exceeds_its_target_by() -> None:
    found = scored()
    hidden, last = rates(found.taped).values()
    assert hidden > last > 0.0

    target = (hidden + last) / 2  # between the two, so that one layer pays
    dear = restraint.added(found, ActivityPlan(weight=3.0, target=target, outputs=True))

    assert dear.loss == pytest.approx(found.loss + 3 * (hidden - target) ** 2)
    assert set(dear.outer) == {*found.outer, "s1"}
    slope = dear.outer["s1"].values
    assert slope.shape == found.taped.values["s1"].shape
    np.testing.assert_allclose(slope, 2 * 3 * (hidden - target) / slope.size, rtol=1e-6)


def test_slopes_of_the_cost_are_its_differences_where_spikes_are_as_smooth_as_their_surrogate() -> (
    None
):
    """Spikes move with the integral of the surrogate, x / (1 + steep |x|); resets stay."""
    plan, found = ActivityPlan(weight=5.0, target=0.01, outputs=True), scored()
    outer = restraint.added(replace(found, outer={}), plan).outer

    slopes = backward.gradients(found.taped, outer, frozenset({"w1", "w2"}), RUN)

    weights = {name: found.taped.values[name].values.astype(np.float64) for name in slopes}
    rng = np.random.default_rng(1)
    for name in slopes:
        way = rng.standard_normal(weights[name].shape)
        ahead, behind = (
            cost(found, {**weights, name: weights[name] + step * way}, weights, plan)
            for step in (1e-6, -1e-6)
        )
        along = float((slopes[name].values.astype(np.float64) * way).sum())
        assert along == pytest.approx((ahead - behind) / 2e-6, rel=2e-3)


def cost(found: Scored, moved: dict[str, F64], at: dict[str, F64], plan: ActivityPlan) -> float:
    """The cost of smooth spikes for moved weights, exact where they have not moved."""
    hidden, last = (step.attributes for step in found.taped.network.steps[1:3])
    s0, s1, s2 = (
        spike_trains.split(found.taped.values[name]).astype(np.float64)
        for name in ("s0", "s1", "s2")
    )
    first = s1 + soft(s0 @ moved["w1"].T, s1, hidden) - soft(s0 @ at["w1"].T, s1, hidden)
    second = s2 + soft(first @ moved["w2"].T, s2, last) - soft(s1 @ at["w2"].T, s2, last)
    over = [float(train.mean()) - plan.target for train in (first, second)]
    return plan.weight * sum(max(0.0, each) ** 2 for each in over)


def soft(arrived: F64, spikes: F64, attributes: dict[str, float]) -> F64:
    """x / (1 + steep |x|) of potentials over a threshold of 1 that are reset to 0 by the spikes."""
    synapse = attributes.get("synapse", 0.0)
    couple, direct = attributes.get("couple", 0.0), attributes.get("direct", 1.0)
    v, current = np.zeros_like(arrived[:, 0]), np.zeros_like(arrived[:, 0])
    made = np.empty_like(arrived)
    for step in range(arrived.shape[1]):
        u = attributes["decay"] * v + couple * current + direct * arrived[:, step]
        current = synapse * current + arrived[:, step]
        v = u * (1 - spikes[:, step])
        made[:, step] = (u - 1) / (1 + STEEP * np.abs(u - 1))
    return made


def test_no_cost_and_a_target_that_no_rate_exceeds_train_the_same_bits(rows: Rows) -> None:
    far, near = (ActivityPlan(target=target) for target in (0.99, 0.0))

    free, at_no_cost, at_a_cost = (
        state.pack(trained(replace(PLAN, activity=activity), rows, stop=5))
        for activity in (None, far, near)
    )

    assert at_no_cost == free != at_a_cost


def test_a_layer_comes_down_to_its_target_and_the_network_stays_right(rows: Rows) -> None:
    free, dear = (
        trained(replace(PLAN, epochs=10, activity=activity), rows).network
        for activity in (None, ActivityPlan(target=0.1))
    )

    taped = [backward.forward(network, {"x": dense(rows.x)}, RUN) for network in (free, dear)]
    assert rates(taped[0])["hidden"] > 0.2
    assert 0.05 < rates(taped[1])["hidden"] < 0.12
    assert (taped[1].values["rate"].values.argmax(axis=1) == rows.y).mean() > 0.9


def test_silent_layers_cost_nothing_and_have_no_slope() -> None:
    weights = {name: dense(np.zeros_like(w.values)) for name, w in spiking().weights.items()}
    found = scored(replace(spiking(), weights=weights))

    dear = restraint.added(found, ActivityPlan(weight=1e6, outputs=True))

    assert dear.loss == found.loss
    assert dear.outer == found.outer
    assert rates(found.taped) == {"hidden": 0.0, "last": 0.0}


def test_no_rows_have_no_spikes_to_pay_for() -> None:
    taped = backward.forward(read(spiking()), {"x": dense(trains(0, STEPS))}, RUN)

    assert restraint.added(Scored(taped, 0.0, {}), ActivityPlan(outputs=True)).outer == {}


def test_the_last_neurons_pay_only_when_they_are_asked_to() -> None:
    assert paying(spiking()) == ["hidden"]
    assert paying(spiking(), outputs=True) == ["hidden", "last"]


def test_neurons_whose_rates_a_product_reads_are_not_the_last() -> None:
    ports = {"x": "rate", "weight": "w3"}
    product = Step("product", "gemm_f32", ports, {"y": "scores"})
    weights = {**spiking().weights, "w3": dense(np.ones((2, OUTPUTS), np.float32))}

    network = replace(spiking(), steps=(*spiking().steps, product), weights=weights)

    assert paying(network) == ["hidden", "last"]


def test_a_layer_that_only_integrates_is_none_that_spikes() -> None:
    pack, hidden, last, *others = spiking().steps
    quiet = replace(last, attributes={**last.attributes, "threshold": NEVER})

    network = replace(spiking(), steps=(pack, hidden, quiet, *others))

    assert paying(network, outputs=True) == ["hidden"]


def test_a_run_taken_up_from_stored_bytes_pays_the_same(rows: Rows) -> None:
    plan = replace(PLAN, epochs=2, activity=ActivityPlan(target=0.02))

    halfway = state.unpack(state.pack(trained(plan, rows, stop=7)))

    whole, resumed = trained(plan, rows), learning.go_on(halfway, plan, rows)
    assert state.pack(resumed) == state.pack(whole)


def test_a_cost_that_nothing_would_pay_is_refused() -> None:
    plan = replace(PLAN, activity=ActivityPlan())
    single = replace(spiking(), steps=spiking().steps[:2], outputs=("v1",))

    with pytest.raises(ValueError, match="no layer of the network can spike"):
        loop.start(networks.mlp((4, 3), ("dense",)), plan)
    with pytest.raises(ValueError, match="only the last neurons of the network spike"):
        loop.start(single, plan)
    loop.start(single, replace(PLAN, activity=ActivityPlan(outputs=True)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"weight": 0.0}, "weight is positive and finite, got 0.0"),
        ({"weight": np.inf}, "weight is positive and finite, got inf"),
        ({"weight": np.nan}, "weight is positive and finite, got nan"),
        ({"target": 1.0}, r"target is a share of 0\.\.1 below 1, got 1\.0"),
        ({"target": -0.1}, r"target is a share of 0\.\.1 below 1, got -0\.1"),
        ({"target": np.nan}, r"target is a share of 0\.\.1 below 1, got nan"),
    ],
)
def test_a_cost_that_makes_no_sense_is_refused(given: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ActivityPlan(**given)


def test_a_cost_beyond_float32_is_told_as_any_run_that_diverges(rows: Rows) -> None:
    plan = replace(PLAN, epochs=1, activity=ActivityPlan(weight=1e308))

    with pytest.raises(loop.Diverged, match="a smaller rate than"):
        trained(plan, rows)
