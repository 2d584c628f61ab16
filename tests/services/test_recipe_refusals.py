"""Recipes as jobs that cannot be carried out or do not hold, and those with little to go by."""

import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.contracts.errors import InvalidMessage, InvalidNetwork, InvalidTensor, NonFiniteInput
from shared.contracts.v1.recipes import Adapt, LayOut, Prune, Quantize, Spike, Stage, Train
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor
from tests.services.compressor_house import HELD, ROWS, X, compressing, network, opened

TUNED = Train(epochs=2, batch=32, rate=1e-4)
GPTQ = (Quantize(bits=4, group=32, solver="gptq"),)


def one_row(x: Array) -> dict[str, Tensor]:
    return HELD | {"calibration_x": layouts.dense(x)}


@pytest.mark.parametrize(
    ("given", "tensors", "error", "told"),
    [
        (GPTQ, HELD, InvalidTensor, "calibration needs a tensor 'calibration_x'"),
        (GPTQ, one_row(X[:0]), InvalidTensor, "send rows"),
        (GPTQ, one_row(np.full_like(X, np.nan)), NonFiniteInput, "NaN"),
        ((TUNED,), HELD, InvalidTensor, "needs the tensor 'train_x'"),
        ((Prune(sparsity=0.9, score="snip"),), HELD, InvalidTensor, "needs the tensor 'train_x'"),
        ((Prune(sparsity=0.9, min_rows=1000),), ROWS, InvalidNetwork, "no dense layer has 1000"),
        ((LayOut(),), ROWS, InvalidNetwork, "no layer is sparse"),
        ((Quantize(), Quantize()), ROWS, InvalidNetwork, "has no dense layer"),
        ((Spike(),), ROWS, InvalidNetwork, "inputs below zero have no rate"),
        ((Adapt(seconds=1e-9),), ROWS, InvalidNetwork, "smallest that can be reached"),
        ((Adapt(share=1.0, layers={"deep": "f32"}),), ROWS, InvalidNetwork, "no dense layer is"),
        ((Adapt(share=1.0, layers={"wide": "1 bit"}),), ROWS, InvalidNetwork, "has no way '1 bit'"),
        ((Adapt(share=0.01),), ROWS, InvalidNetwork, "smallest that can be reached"),
        (
            (Prune(sparsity=0.9), LayOut(layouts={"wide": "xyz"})),
            ROWS,
            InvalidNetwork,
            "no layout is called 'xyz'",
        ),
        ((), ROWS, InvalidMessage, "name a method, give a recipe"),
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
            await house.compress(compressing(*given), tensors)


async def test_a_refused_recipe_says_by_how_much(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await house.compress(
            compressing(Prune(sparsity=0.98), max_accuracy_drop=0.01), ROWS
        )

        assert not report["accepted"]
        assert "points, over 1.00" in str(report["verdict"])
        assert len((await house.manifest()).variants) == 1


@pytest.mark.parametrize("x", [X[:1], np.ones_like(X)], ids=["single", "constant"])
async def test_little_to_calibrate_on_is_still_an_answer(memory: MemoryBroker, x: Array) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await house.compress(compressing(*GPTQ), one_row(x))

        assert report["accepted"]


async def test_a_group_that_does_not_divide_is_said(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.load(network())

        report = await house.compress(compressing(Quantize(bits=4, group=48)), ROWS)

        layers = report["layers"]
        assert isinstance(layers, list)
        assert "groups of 48 do not divide 64 columns" in layers[0]["reason"]
