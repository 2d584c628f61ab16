"""The committed accuracies hold what they should, and the page is made from them.

Orders that did not hold beyond chance are not asserted; the page says which.
"""

import json
from statistics import mean

import pytest

from ops.bench import digits_networks, faithful_table
from ops.bench.faithful_table import RESULTS, Seeds
from ops.demo import digits
from shared.network.training import backward
from shared.network.training.plan import Method, SparsePlan, TrainPlan
from shared.operators.reference import ReferenceBackend


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:  # type: ignore[type-arg]  # JSON
    return json.loads(RESULTS.read_text())


@pytest.fixture(scope="module")
def seeds(found: dict[str, Seeds]) -> Seeds:
    return found["seeds"]


def test_the_page_is_made_from_the_committed_results() -> None:
    assert faithful_table.PAGE.read_text() == faithful_table.whole()


def test_there_are_ten_seeds_of_a_clean_tree(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    assert len(found["seeds"]) == 10
    assert "dirty" not in found["machine"]["commit"]


@pytest.mark.parametrize(("method", "points"), faithful_table.BOUNDS)
def test_compression_stays_within_its_points_of_dense(
    seeds: Seeds, method: str, points: float
) -> None:
    middle, half = faithful_table.difference(seeds, method, "dense")

    assert middle - half >= -points


def test_gptq_is_better_than_rounding_to_nearest(seeds: Seeds) -> None:
    assert faithful_table.difference(seeds, "int4 gptq", "int4 nearest")[0] > 0
    for seed in seeds.values():
        assert all(ratio < 1 for ratio in dict(seed["int4 error"]).values())


@pytest.mark.parametrize("rule", ["percentile", "entropy"])
@pytest.mark.parametrize("bits", ["8 bits", "4 bits"])
def test_ranges_that_clip_serve_a_heavy_tail_better(seeds: Seeds, bits: str, rule: str) -> None:
    errors = [dict(seed["heavy tail"])[bits] for seed in seeds.values()]

    assert mean(one[rule] for one in errors) < mean(one["min-max"] for one in errors)


def test_moving_weights_is_better_than_a_static_mask_at_98_percent_on_average(
    seeds: Seeds,
) -> None:
    for better, other in (("rigl", "set"), ("set", "static"), ("rigl", "static")):
        assert faithful_table.difference(seeds, f"{better} 98%", f"{other} 98%")[0] > 0


def test_a_layout_that_runs_is_ten_times_smaller(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    assert max(found["ratios"]["layouts"].values()) >= 10.1


def test_sparse_training_holds_less_than_dense_training(found: dict[str, dict]) -> None:  # type: ignore[type-arg]
    training = found["ratios"]["training"]
    for name, held in training.items():
        if name != "dense":
            assert held["peak"] < training["dense"]["peak"] / 2
            assert held["state"] < training["dense"]["state"] / 5


@pytest.mark.parametrize("method", [None, "static", "set", "rigl", "dsr", "gradual"])
def test_every_method_learns_digits_in_a_short_run(method: Method | None) -> None:
    backend = ReferenceBackend()
    sparse = SparsePlan(method, 0.8, every=5) if method else None
    plan = TrainPlan(rate=5e-3, epochs=10, batch=64, sparse=sparse)
    data = digits.load(seed=0)

    network = digits_networks.trained(
        digits_networks.mlp(64, 64, 10), plan, data, backward.on(backend)
    )

    assert digits_networks.accuracy(network, data, backend) > 0.85
