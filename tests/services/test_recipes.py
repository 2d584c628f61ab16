"""Recipes as jobs: what every stage makes, and what is remembered of it."""

import numpy as np
import pytest

from services.compressor import stages
from shared.bus.memory import MemoryBroker
from shared.contracts.errors import JobCancelled
from shared.contracts.v1.jobs import CompressBody, InferBody
from shared.contracts.v1.recipes import (
    Adapt,
    Equalize,
    LayOut,
    Prune,
    Quantize,
    Recipe,
    Smooth,
    Spike,
    Stage,
    Train,
)
from shared.network import artifact
from shared.tensors import layouts
from tests.services.compressor_house import NARROW, ROWS, WIDE, X, compressing, network, opened

TUNED = Train(epochs=2, batch=32, rate=1e-4)


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
        ((Adapt(share=0.11, bits=(2, 3, 5, 8)),), None, 7.0),
        ((Adapt(seconds=10.0, layers={"wide": "8 bits"}),), {"gemm_i8", "gemm_f32"}, 3.0),
        ((Smooth(alpha=None), Quantize(activations="static")), {"gemm_q8"}, 3.5),
        ((Prune(sparsity=0.9), TUNED), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.9, score="wanda", scope="erk"),), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.9, score="snip"),), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.9, score="gradient"),), {"spmm_csr", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.5, granularity="nm"),), {"spmm_nm", "gemm_f32"}, 1.5),
        ((Prune(sparsity=0.8, granularity="block"), TUNED), {"spmm_block", "gemm_f32"}, 3.0),
        ((Prune(sparsity=0.75, granularity="row"), TUNED), {"gemm_f32"}, 3.9),
        ((Prune(sparsity=0.8, granularity="block", scope="erk"), TUNED), None, 3.0),
        ((Prune(sparsity=0.75, granularity="row", scope="uniform"), TUNED), {"gemm_f32"}, 3.9),
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

        report = await house.compress(compressing(*given, variant="small"), ROWS)

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


async def test_a_network_that_spikes_answers_like_the_one_it_came_from(
    memory: MemoryBroker,
) -> None:
    x = np.abs(X)
    labels = (np.maximum(x @ WIDE, 0) @ NARROW).argmax(axis=1)
    rows = {"x": x, "labels": labels, "train_x": x, "train_labels": labels}
    async with opened(memory) as house:
        await house.load(network())
        asked = compressing(Spike(steps=128), variant="spiking", objective="accuracy")

        report = await house.compress(
            asked.model_copy(update={"max_accuracy_drop": 0.05}),
            {name: layouts.dense(array) for name, array in rows.items()},
        )

        assert report["accepted"], report["verdict"]
        _, outputs = await house.run(
            InferBody(model="net", variant="spiking"), {"x": layouts.dense(x[:20])}
        )
        assert (outputs["y"].values.argmax(axis=1) == labels[:20]).mean() >= 0.9


async def test_bits_that_fit_the_seconds_are_named_in_the_recipe(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await house.compress(compressing(Adapt(seconds=10.0)), ROWS)

        (stage,) = Recipe.model_validate(report["recipe"]).stages
        assert isinstance(stage, Adapt)
        assert stage.layers == {"wide": "f32", "narrow": "f32"}  # ten seconds are enough for that


async def test_rows_that_leave_make_layers_that_are_really_smaller(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        await house.compress(
            compressing(Prune(sparsity=0.75, granularity="row"), variant="narrow"), ROWS
        )

        made = (await house.manifest()).variants[1]
        small = artifact.unpack(await house.bus.get_blob(made.artifact))
        assert sorted(weight.shape for weight in small.weights.values()) == [(4, 128), (128, 64)]


async def test_layers_that_stay_dense_have_the_same_name_when_told_so(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        plain = LayOut(layouts={"wide": "dense"})

        first = await house.compress(compressing(Prune(sparsity=0.5), plain, Quantize()), ROWS)
        again = await house.compress(
            compressing(Prune(sparsity=0.5), LayOut(layouts={}), Quantize()), ROWS
        )

        assert first["artifact"] == again["artifact"]


@pytest.mark.parametrize("sparsity", [0.4, 0.9])  # one of them may well be served dense
async def test_a_recipe_repeats_its_artifact_bit_by_bit(
    memory: MemoryBroker, sparsity: float
) -> None:
    """The second time nothing is remembered, and layouts are named by the first report."""
    async with opened(memory) as house:
        await house.load(network())
        first = await house.compress(compressing(Prune(sparsity=sparsity), TUNED, LayOut()), ROWS)
        await house.forget()

        again = CompressBody.model_validate(
            {"model": "net", "recipe": first["recipe"], "objective": "size", "variant": "again"}
            | {"max_accuracy_drop": 1.0}
        )
        second = await house.compress(again, ROWS)

        assert first["artifact"] == second["artifact"]
        assert first["artifact"] is not None


async def test_a_repeated_recipe_is_answered_from_the_store(
    memory: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(memory) as house:
        await house.load(network())
        asked = compressing(Prune(sparsity=0.9), TUNED)
        first = await house.compress(asked, ROWS)
        made: list[str] = []
        by_kind = stages.Kitchen._by_kind

        async def noting(self: stages.Kitchen, stage: Stage, now: object) -> object:
            made.append(stage.stage)
            return await by_kind(self, stage, now)

        monkeypatch.setattr(stages.Kitchen, "_by_kind", noting)
        second = await house.compress(asked, ROWS)
        longer = await house.compress(compressing(Prune(sparsity=0.9), TUNED, LayOut()), ROWS)

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
        report = await house.compress(compressing(Prune(sparsity=0.9), TUNED), ROWS)

        assert report["accepted"]
        assert made == ["prune", "train", "train"]


async def test_a_cancelled_recipe_leaves_no_variant_and_no_kept_blob(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())
        before = {variant.artifact.sha256 for variant in (await house.manifest()).variants}
        asked = compressing(Prune(sparsity=0.9), Train(epochs=100_000))

        record = await house.cancelled(asked, ROWS)

        assert record.failure is not None
        assert record.failure.code == JobCancelled.code
        manifest = await house.manifest()
        assert {variant.artifact.sha256 for variant in manifest.variants} == before
