"""Recipes as jobs: every stage, remembered and repeatable; analysis, search, and refusals."""

from collections.abc import Mapping

import anyio
import numpy as np
import pytest

from services.compressor import analysis, searching, stages
from services.compressor.analysis import StepFigures
from shared.bus.memory import MemoryBroker
from shared.chassis import jobs
from shared.contracts.errors import InvalidMessage, InvalidNetwork, InvalidTensor, NonFiniteInput
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import CompressBody, InferBody, JobSubmitted
from shared.contracts.v1.recipes import (
    Adapt,
    Budget,
    Equalize,
    LayOut,
    Prune,
    Quantize,
    Recipe,
    Smooth,
    Stage,
    Train,
)
from shared.network import artifact
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor
from tests.services.compressor_house import LABELS, House, X, network, opened

HELD = {"x": layouts.dense(X), "labels": layouts.dense(LABELS)}
LEARN = {"train_x": layouts.dense(X), "train_labels": layouts.dense(LABELS)}
ALL = HELD | LEARN
TUNED = Train(epochs=2, batch=32, rate=1e-4)


def body(*given: Stage, **changes: object) -> CompressBody:
    recipe = Recipe(stages=given) if given else None
    asked = CompressBody(model="net", recipe=recipe, objective="size", max_accuracy_drop=1.0)
    return asked.model_copy(update=changes)


async def compressed(
    house: House, asked: CompressBody, tensors: Mapping[str, Tensor] = ALL
) -> dict[str, object]:
    return (await house.run(asked, tensors))[0].report


@pytest.mark.parametrize(
    ("given", "operators", "smaller"),
    [
        ((Quantize(bits=8),), {"gemm_i8"}, 3.5),
        ((Quantize(bits=4, group=32, solver="gptq", bias_correction=True),), {"gemm_i4"}, 5.5),
        ((Quantize(bits=3, group=16, solver="hqq"),), {"gemm_int"}, 5.0),
        ((Quantize(bits=4, group=32, solver="awq"),), {"gemm_i4"}, 5.5),
        ((Quantize(activations="static"),), {"gemm_q8"}, 3.5),
        ((Smooth(), Quantize(activations="static", ranges="kl")), {"gemm_q8"}, 3.5),
        ((Quantize(activations="static", ranges="mse", solver="gptq"),), {"gemm_q8"}, 3.5),
        ((Quantize(bits=8, group=32),), {"gemm_int"}, 3.0),
        ((Quantize(bits=8, per_tensor=True, symmetric=False),), {"gemm_int"}, 3.5),
        ((Quantize(bits=4, group=32, symmetric=False, solver="gptq"),), {"gemm_int"}, 5.0),
        ((Quantize(bits=2, group=16, symmetric=False, activations="dynamic"),), {"gemm_int"}, 5.0),
        ((Equalize(), Quantize(bits=4, group=64)), {"gemm_i4"}, 6.0),
        ((Smooth(alpha=0.4), Quantize(activations="dynamic")), {"gemm_i8"}, 3.5),
        ((Smooth(), Quantize(bits=4, group=32, activations="dynamic")), {"gemm_i4"}, 5.5),
        ((Adapt(share=0.2),), {"gemm_i4", "gemm_i8"}, 4.9),
        ((Prune(sparsity=0.9), TUNED), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.9, score="wanda", scope="erk"),), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.9, score="snip"),), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.9, score="gradient"),), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.5, granularity="nm"),), {"spmm_nm", "gemm_f32"}, 1.5),
        ((Prune(sparsity=0.8, granularity="block"), TUNED), {"spmm_block", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.75, granularity="row"), TUNED), {"gemm_f32"}, 3.9),
        ((Prune(sparsity=0.9), LayOut(values="i8")), None, 5.0),
    ],
    ids=lambda value: (
        "-".join(f"{s.stage}_{getattr(s, 'solver', getattr(s, 'granularity', ''))}" for s in value)
        if isinstance(value, tuple)
        else ""
    ),
)
async def test_every_stage_makes_a_smaller_network_that_is_served(
    memory: MemoryBroker, given: tuple[Stage, ...], operators: set[str] | None, smaller: float
) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await compressed(house, body(*given, variant="small"))

        assert report["accepted"], report["verdict"]
        layers = report["layers"]
        assert isinstance(layers, list)
        assert operators is None or {layer["operator"] for layer in layers} <= operators
        found = report["verdict"]
        assert isinstance(found, dict)
        assert found["baseline_bytes"] / found["bytes"] > smaller
        _, outputs = await house.run(
            InferBody(model="net", variant="small"), {"x": layouts.dense(X[:3])}
        )
        assert outputs["y"].shape == (3, 4)


@pytest.mark.parametrize("sparsity", [0.4, 0.9])  # one of them may well be served dense
async def test_a_recipe_repeats_its_artifact_bit_by_bit(
    memory: MemoryBroker, sparsity: float
) -> None:
    """The second time nothing is remembered, and layouts are named by the first report."""
    async with opened(memory) as house:
        await house.load(network())
        first = await compressed(house, body(Prune(sparsity=sparsity), TUNED, LayOut()))
        for entry in await house.bus.entries(Bucket.CONTROL):
            await house.bus.remove(Bucket.CONTROL, entry.key)

        again = CompressBody.model_validate(
            {"model": "net", "recipe": first["recipe"], "objective": "size", "variant": "again"}
            | {"max_accuracy_drop": 1.0}
        )
        second = await compressed(house, again)

        assert first["artifact"] == second["artifact"]
        assert first["artifact"] is not None


async def test_a_repeated_recipe_is_answered_from_the_store(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        asked = body(Prune(sparsity=0.9), TUNED)
        first = await compressed(house, asked)
        made: list[str] = []
        by_kind = stages.Kitchen._by_kind

        async def noting(self: stages.Kitchen, stage: Stage, now: object) -> object:
            made.append(stage.stage)
            return await by_kind(self, stage, now)

        monkeypatch.setattr(stages.Kitchen, "_by_kind", noting)
        second = await compressed(house, asked)
        longer = await compressed(house, body(Prune(sparsity=0.9), TUNED, LayOut()))

        assert second["artifact"] == first["artifact"]
        assert made == ["lay_out"]  # of the longer recipe the first two were there
        assert longer["accepted"]


async def test_a_job_that_breaks_between_stages_goes_on_where_it_was(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        made: list[str] = []
        by_kind = stages.Kitchen._by_kind

        async def breaking(self: stages.Kitchen, stage: Stage, now: object) -> object:
            made.append(stage.stage)
            if made == ["prune", "train"]:
                raise RuntimeError("the compressor breaks")
            return await by_kind(self, stage, now)

        monkeypatch.setattr(stages.Kitchen, "_by_kind", breaking)
        report = await compressed(house, body(Prune(sparsity=0.9), TUNED))

        assert report["accepted"]
        assert made == ["prune", "train", "train"]


async def test_a_cancelled_recipe_leaves_no_variant_and_no_kept_blob(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        before = {variant.artifact.sha256 for variant in (await house.manifest()).variants}
        asked = body(Prune(sparsity=0.9), Train(epochs=100_000))
        job = JobSubmitted(job="long", body=asked)
        begun = anyio.Event()
        await house.bus.subscribe(
            "el.v1.evt.default.long.progress",
            lambda message: begun.set() if b"loss" in message.data else None,
        )
        await jobs.submit(house.bus, job, ALL)
        with anyio.fail_after(30):
            await begun.wait()

        await jobs.withdraw(house.bus, job)

        record = await jobs.wait(house.bus, job, timeout=30)
        assert record.failure is not None
        manifest = await house.manifest()
        assert {variant.artifact.sha256 for variant in manifest.variants} == before


async def test_a_refused_recipe_says_by_how_much(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await compressed(house, body(Prune(sparsity=0.98), max_accuracy_drop=0.01))

        assert not report["accepted"]
        assert "points, over 1.00" in str(report["verdict"])
        assert len((await house.manifest()).variants) == 1


async def test_rows_that_leave_make_layers_that_are_really_smaller(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        await compressed(house, body(Prune(sparsity=0.75, granularity="row"), variant="narrow"))

        made = (await house.manifest()).variants[1]
        small = artifact.unpack(await house.bus.get_blob(made.artifact))
        assert sorted(weight.shape for weight in small.weights.values()) == [(4, 128), (128, 64)]


async def test_an_analysis_tells_time_cost_and_sensitivity(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await compressed(house, body(action="analyze"))

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
        asked = body(action="search", max_accuracy_drop=0.05, budget=Budget(size=0.3))

        report = await compressed(house, asked)

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

        report = await compressed(house, body(action="search", budget=Budget(size=100.0)), HELD)

        assert not report["accepted"]
        assert "bytes, over the budget of 100" in str(report["reason"])
        assert len((await house.manifest()).variants) == 1


def one_row(x: Array) -> dict[str, Tensor]:
    return HELD | {"calibration_x": layouts.dense(x)}


GPTQ = (Quantize(bits=4, group=32, solver="gptq"),)


@pytest.mark.parametrize(
    ("given", "tensors", "error", "told"),
    [
        (GPTQ, HELD, InvalidTensor, "calibration needs a tensor 'calibration_x'"),
        (GPTQ, one_row(X[:0]), InvalidTensor, "send rows"),
        (GPTQ, one_row(np.full_like(X, np.nan)), NonFiniteInput, "NaN"),
        ((TUNED,), HELD, InvalidTensor, "needs the tensor 'train_x'"),
        ((Prune(sparsity=0.9, score="snip"),), HELD, InvalidTensor, "needs the tensor 'train_x'"),
        ((Prune(sparsity=0.9, min_rows=1000),), ALL, InvalidNetwork, "no dense layer has 1000"),
        ((LayOut(),), ALL, InvalidNetwork, "no layer is sparse"),
        ((Quantize(), Quantize()), ALL, InvalidNetwork, "has no dense layer"),
        ((Adapt(share=0.01),), ALL, InvalidNetwork, "smallest that can be reached"),
        (
            (Prune(sparsity=0.9), LayOut(layouts={"wide": "xyz"})),
            ALL,
            InvalidNetwork,
            "no layout is called 'xyz'",
        ),
        ((), ALL, InvalidMessage, "name a method, give a recipe"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_done_is_refused_with_a_reason(
    memory: MemoryBroker,
    given: tuple[Stage, ...],
    tensors: dict[str, Tensor],
    error: type[Exception],
    told: str,
) -> None:
    async with opened(memory) as house:
        await house.load(network())

        with pytest.raises(error, match=told):
            await compressed(house, body(*given), tensors)


@pytest.mark.parametrize("x", [X[:1], np.ones_like(X)], ids=["single", "constant"])
async def test_little_to_calibrate_on_is_still_an_answer(memory: MemoryBroker, x: Array) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await compressed(house, body(*GPTQ), one_row(x))

        assert report["accepted"]


async def test_a_group_that_does_not_divide_is_said(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await compressed(house, body(Quantize(bits=4, group=48)))

        layers = report["layers"]
        assert isinstance(layers, list)
        assert "groups of 48 do not divide 64 columns" in layers[0]["reason"]


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


async def test_layers_that_stay_dense_have_the_same_name_when_told_so(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        plain = LayOut(layouts={"wide": "dense"})

        first = await compressed(house, body(Prune(sparsity=0.5), plain, Quantize()))
        again = await compressed(house, body(Prune(sparsity=0.5), LayOut(layouts={}), Quantize()))

        assert first["artifact"] == again["artifact"]
