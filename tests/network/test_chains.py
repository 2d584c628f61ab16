"""Pairs of layers change on both sides at once, and the network's meaning stays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.network import chains, execute, observing, rewrites
from shared.network.graph import Network, Step
from shared.network.training import backward
from shared.operators.reference import ReferenceBackend
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense
from tests.network import networks

SIZES = st.lists(st.integers(1, 12), min_size=3, max_size=5)


def mlp(sizes: list[int]) -> Network:
    return networks.mlp(tuple(sizes), ("dense",) * (len(sizes) - 1))


def answers(network: Network, columns: int) -> F32:
    x = np.random.default_rng(7).standard_normal((9, columns)).astype(np.float32)
    y: F32 = execute.load(network, ReferenceBackend()).run({"x": dense(x)})["y"].values
    return y


@given(SIZES)
def test_equalising_leaves_the_answers_and_levels_the_channels(sizes: list[int]) -> None:
    network = mlp(sizes)

    found = chains.equalized(network, rounds=1)

    np.testing.assert_allclose(
        answers(found, sizes[0]), answers(network, sizes[0]), rtol=1e-3, atol=1e-5
    )
    (first, second), *_ = list(chains.pairs(mlp(sizes[-3:])))
    last = chains.equalized(mlp(sizes[-3:]), rounds=1)
    out = np.abs(last.weights[first.inputs["weight"]].values).max(axis=1)
    into = np.abs(last.weights[second.inputs["weight"]].values).max(axis=0)
    np.testing.assert_allclose(out, into, rtol=1e-4)


@given(SIZES, st.none() | st.floats(0, 1))
def test_smoothing_leaves_the_answers(sizes: list[int], alpha: float | None) -> None:
    network = mlp(sizes)
    x = np.random.default_rng(3).standard_normal((20, sizes[0])).astype(np.float32)
    seen = observing.observe(network, x, backward.on(ReferenceBackend()))

    found, shares = chains.smoothed(network, seen, alpha)

    assert all(0 <= share <= 1 for share in shares.values())
    np.testing.assert_allclose(
        answers(found, sizes[0]), answers(network, sizes[0]), rtol=1e-3, atol=1e-5
    )


def test_a_layer_that_others_read_too_is_left_alone() -> None:
    network = mlp([4, 5, 3])
    again = Step("again", "relu", {"x": "h0"}, {"y": "z"})
    shared = replace(network, steps=(*network.steps, again), outputs=("y", "z"))

    assert list(chains.pairs(shared)) == []


def test_products_get_the_operator_of_their_weight() -> None:
    network = mlp([4, 5, 3])
    made = affine.quantize(network.weights["w0"].values.view(np.float32), INT8_PER_CHANNEL)

    found = rewrites.with_weights(network, {"layer0": made})

    assert [step.operator for step in found.steps] == ["gemm_i8", "gemm_f32", "softmax"]
    assert "w0" not in found.weights
    np.testing.assert_allclose(answers(found, 4), answers(network, 4), atol=0.05)


def test_a_layer_without_bias_can_get_one() -> None:
    network = mlp([4, 3])
    bare = replace(
        network,
        steps=tuple(
            replace(step, inputs={p: v for p, v in step.inputs.items() if p != "bias"})
            for step in network.steps
        ),
    )

    found = rewrites.with_biases(bare, {"layer0": network.weights["b0"]})

    np.testing.assert_allclose(answers(found, 4), answers(network, 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"nothing": dense(np.ones((5, 4), np.float32))}, "no product is called 'nothing'"),
        ({"layer0": dense(np.ones((5, 3), np.float32))}, r"has a weight \(5, 4\), not \(5, 3\)"),
    ],
)
def test_weights_that_fit_nowhere_are_refused(made: dict[str, Tensor], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rewrites.with_weights(mlp([4, 5, 3]), made)
