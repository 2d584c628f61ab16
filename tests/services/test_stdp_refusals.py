"""Jobs that cannot learn without labels are refused with a reason, a code, and a way out."""

from collections.abc import Mapping

import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.contracts.errors import (
    InvalidMessage,
    InvalidNetwork,
    InvalidTensor,
    ModelExists,
    SuiteError,
)
from shared.contracts.v1.training import SparseTraining, Stdp
from shared.tensors import layouts
from shared.tensors.layouts import Tensor
from tests.services.compressor_house import network, opened
from tests.services.digit_rows import BODY, FEW, HELD_LABELS, HELD_X, LABELS, ROWS, X


@pytest.mark.parametrize(
    ("changes", "tensors", "error", "told"),
    [
        ({"model": None}, FEW, InvalidMessage, "name the model to train, or to make"),
        ({}, {"train_x": FEW["train_x"]}, InvalidTensor, "needs the tensor 'train_labels'"),
        ({}, FEW | {"x": ROWS["x"]}, InvalidTensor, r"x, labels: x \(100, 64\) and y \(30,\)"),
        (
            {},
            {name: FEW[name] for name in FEW if name != "labels"},
            InvalidTensor,
            "needs the tensor 'labels'",
        ),
        (
            {},
            FEW | {"train_x": layouts.dense(X[:30].reshape(30, 8, 8))},
            InvalidTensor,
            r"train_x: rows are \(n, k\) with one of each at least, got \(30, 8, 8\)",
        ),
        (
            {},
            FEW | {"train_x": layouts.dense(X[:30] * 16)},
            InvalidTensor,
            r"train_x: rows are shares of 0\.\.1, got 0 to 16",
        ),
        (
            {},
            FEW | {"train_x": layouts.dense((X[:30] * 16).astype(np.uint8))},
            InvalidTensor,
            "train_x is uint8; send float32 from 0 to 1",
        ),
        (
            {},
            FEW | {"x": layouts.dense(HELD_X[:30, :63])},
            InvalidTensor,
            "x has 63 columns, train_x has 64",
        ),
        (
            {},
            FEW | {"train_labels": layouts.dense(LABELS[:30] - 1)},
            InvalidTensor,
            "train_labels: label -1 is negative",
        ),
        (
            {},
            FEW | {"train_labels": layouts.dense(LABELS[:30] * 10)},
            InvalidTensor,
            "labels go up to 90, which is 91 classes; there may be 2 to 40",
        ),
        (
            {},
            FEW | {"labels": layouts.dense(HELD_LABELS[:30] + 7)},
            InvalidTensor,
            "labels: label 16 is not one of the 10 classes",
        ),
        (
            {"stdp": Stdp(neurons=100_000)},
            FEW,
            InvalidMessage,
            r"body\.stdp: neurons is 1 to 16384, got 100000",
        ),
        ({"stdp": Stdp(steps=20_000)}, FEW, InvalidMessage, "steps is 1 to 10000, got 20000"),
        (
            {"rate": 0.5},
            FEW,
            InvalidMessage,
            r"body\.rate: 0\.5 is for the method gradient; leave it out for stdp",
        ),
        (
            {"sparse": SparseTraining(method="set", sparsity=0.5)},
            FEW,
            InvalidMessage,
            r"body\.sparse: .* is for the method gradient",
        ),
        ({"method": None}, FEW, InvalidMessage, r"body\.stdp: it is for the method stdp"),
    ],
    ids=[
        "no_model",
        "no_labels",
        "other_rows",
        "no_held_labels",
        "images",
        "range",
        "bytes",
        "columns",
        "negative",
        "classes",
        "label",
        "neurons",
        "steps",
        "rate",
        "sparse",
        "gradient",
    ],
)
async def test_what_cannot_be_learned_is_refused_with_a_reason(
    memory: MemoryBroker,
    changes: dict[str, object],
    tensors: Mapping[str, Tensor],
    error: type[SuiteError],
    told: str,
) -> None:
    async with opened(memory) as house:
        with pytest.raises(error, match=told):
            await house.run(BODY.model_copy(update=changes), tensors)


async def test_models_that_cannot_learn_so_are_refused_with_a_reason(memory: MemoryBroker) -> None:
    other = {"variant": "other", "stdp": Stdp(neurons=41)}
    narrow = {name: layouts.dense(FEW[name].values[..., :30]) for name in ("train_x", "x")}

    async with opened(memory) as house:
        await house.load(network())
        await house.run(BODY, FEW)

        with pytest.raises(InvalidNetwork, match="takes one step plastic_layer, the network has 0"):
            await house.run(BODY.model_copy(update={"model": "net"}), FEW)
        with pytest.raises(ModelExists, match="'eyes' began with 'first', which stays"):
            await house.run(BODY, FEW)
        with pytest.raises(InvalidMessage, match="the network has 40 neurons, not 41; set `fresh`"):
            await house.run(BODY.model_copy(update=other), FEW)
        with pytest.raises(InvalidTensor, match="has 30 columns, the network takes 64"):
            await house.run(BODY.model_copy(update={"variant": "narrow"}), FEW | narrow)
