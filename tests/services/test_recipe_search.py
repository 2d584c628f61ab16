"""Analysis of a network, recommended recipes, and the search among them."""

import pytest

from services.compressor import analysis, searching
from services.compressor.analysis import StepFigures
from shared.bus.memory import MemoryBroker
from shared.contracts.v1.recipes import Budget
from tests.services.compressor_house import HELD, ROWS, compressing, network, opened


async def test_an_analysis_tells_time_cost_and_sensitivity(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await house.compress(compressing(action="analyze"), ROWS)

        figures = report["analysis"]
        assert isinstance(figures, list)
        dense = [one for one in figures if one["loss"]]
        assert len(dense) == 2
        for one in dense:
            assert one["seconds"] > 0
            assert one["flops"] > 0
            assert 0 <= one["loss"]["8 bits"] < one["loss"]["4 bits"] < one["loss"]["90% zeros"]
        assert len((await house.manifest()).variants) == 1


async def test_a_search_keeps_the_best_and_reports_every_candidate(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        asked = compressing(action="search", max_accuracy_drop=0.05, budget=Budget(size=0.3))

        report = await house.compress(asked, ROWS)

        candidates = report["candidates"]
        assert isinstance(candidates, list)
        chosen = next(one for one in candidates if one["name"] == report["chosen"])
        assert chosen["accepted"]
        assert chosen["bytes"] == min(one["bytes"] for one in candidates if one["accepted"])
        assert any(one["pareto"] for one in candidates)
        manifest = await house.manifest()
        assert [variant.name for variant in manifest.variants] == ["dense", report["chosen"]]
        for one in candidates:
            assert one["low"] <= one["accuracy"] <= one["high"]
            assert one["accepted"] or "refused" in one["reason"]


async def test_an_impossible_budget_names_what_was_reached(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await house.compress(compressing(action="search", budget=Budget(size=100.0)), HELD)

        assert not report["accepted"]
        assert "bytes, over the budget of 100" in str(report["reason"])
        assert len((await house.manifest()).variants) == 1


def figures(share: float) -> list[StepFigures]:
    loss = {"8 bits": 0.001, "4 bits": 0.1, "90% zeros": 1.0}
    return [
        StepFigures("layer", "gemm_f32", share, 1.0, 1.0, 0.0, loss),
        StepFigures("other", "softmax", 1 - share, 1.0, 1.0, 0.0),
    ]


def test_recommendations_follow_from_what_is_at_hand() -> None:
    def names(**given: bool) -> list[str]:
        return [one.name for one in analysis.recommend(figures(0.8), **given)]

    assert names(trains=False, calibrates=False) == ["int8", "int4-hqq", "pruned80"]
    assert names(trains=False, calibrates=True) == ["int8", "int4-gptq", "mixed", "pruned80"]
    assert "rigl95" in names(trains=True, calibrates=True)


def test_sparsity_is_not_recommended_where_dense_layers_take_little_time() -> None:
    found = analysis.recommend(figures(0.1), trains=False, calibrates=False)

    assert [one.name for one in found] == ["int8", "int4-hqq"]


def test_a_network_without_dense_layers_has_nothing_to_recommend() -> None:
    with pytest.raises(ValueError, match="no dense layer"):
        analysis.recommend(figures(0.1)[1:], trains=True, calibrates=True)


def test_the_front_is_what_nothing_beats() -> None:
    points = [(0.9, 1.0, 10.0), (0.9, 2.0, 10.0), (0.8, 0.5, 5.0), (0.7, 0.6, 4.0)]

    assert searching.pareto(points) == [True, False, True, True]
