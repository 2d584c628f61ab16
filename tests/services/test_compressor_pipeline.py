"""Making networks smaller: pure, so numbers can be checked."""

from dataclasses import replace
from math import isclose

import numpy as np
import pytest
from hypothesis import assume, given

from services.compressor import pipeline
from services.cpu_worker.backend import CpuBackend
from shared.network import artifact, execute, shapes
from shared.network.graph import Network, Step
from shared.quantization import affine
from shared.sparse import compressed
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor
from tests.network.networks import batched, mlp, mlps


def output(network: Network, x: Tensor) -> Array:
    return execute.load(network, CpuBackend()).run({"x": x})["y"].values


def dense(*sizes: int) -> Network:
    return mlp(sizes, ("dense",) * (len(sizes) - 1))


# INT8


def test_int8_replaces_every_dense_layer_and_keeps_the_rest() -> None:
    made = pipeline.int8(dense(40, 30, 20, 10))

    assert [step.operator for step in made.network.steps] == ["gemm_i8"] * 3 + ["softmax"]
    assert [step.attributes for step in made.network.steps[:3]] == [
        {"activation": "relu"},
        {"activation": "relu"},
        {"activation": "none"},
    ]
    shapes.check(made.network)


def test_int8_takes_a_quarter_of_the_bytes_plus_one_scale_per_row() -> None:
    (layer, _) = pipeline.int8(dense(100, 50, 10)).layers

    assert layer.bytes_before == 4 * 100 * 50
    assert layer.bytes_after == 100 * 50 + 4 * 50


def test_int8_weights_are_within_half_a_step_of_the_trained_ones() -> None:
    network = dense(20, 40)

    made = pipeline.int8(network)

    (weight,) = (w for w in made.network.weights.values() if "codes" in w.parts)
    error = np.abs(affine.dequantize(weight) - network.weights["w0"].values)
    assert (error <= weight.parts["scale"] * 0.5001).all()


@given(mlps())
def test_a_compressed_network_is_sound_and_survives_its_artifact(network: Network) -> None:
    assume(any(step.operator == "gemm_f32" for step in network.steps))

    made = artifact.unpack(artifact.pack(pipeline.int8(network).network))

    before, after = shapes.infer(network, 3), shapes.infer(made, 3)
    values = [value for step in network.steps for value in step.outputs.values()]
    assert {value: after[value] for value in values} == {value: before[value] for value in values}
    assert (made.inputs, made.outputs) == (network.inputs, network.outputs)
    assert not any(step.operator == "gemm_f32" for step in made.steps)


# Pruning


def test_pruning_keeps_the_weights_of_largest_magnitude() -> None:
    network = dense(64, 40)

    (layer,) = pipeline.prune_csr(network, 0.9).layers

    assert layer.sparsity == 1 - 256 / 2560  # 10 % of 40 * 64
    made = pipeline.prune_csr(network, 0.9).network
    (weight,) = (w for w in made.weights.values() if "indptr" in w.parts)
    held = compressed.expand(compressed.from_tensor(weight))
    dropped = np.abs(network.weights["w0"].values[held == 0])
    assert dropped.max() <= np.abs(held[held != 0]).min()


def test_a_pruned_layer_computes_what_its_zeroed_weight_would() -> None:
    network = dense(64, 40)
    made = pipeline.prune_csr(network, 0.8).network
    (weight,) = (w for w in made.weights.values() if "indptr" in w.parts)
    zeroed = layouts.dense(compressed.expand(compressed.from_tensor(weight)))
    x = layouts.dense(np.random.default_rng(3).standard_normal((5, 64)).astype(np.float32))

    expected = output(replace(network, weights={**network.weights, "w0": zeroed}), x)

    np.testing.assert_allclose(output(made, x), expected, rtol=1e-4, atol=1e-6)


def test_a_layer_of_few_outputs_stays_dense_and_says_so() -> None:
    made = pipeline.prune_csr(dense(64, 64, 10), 0.9)

    hidden, last = made.layers
    assert (hidden.operator, last.operator) == ("spmm_csr", "gemm_f32")
    assert last.reason.startswith("10 outputs, under 32")
    assert last.bytes_after == last.bytes_before


def test_a_layer_that_csr_would_enlarge_stays_dense_and_the_others_reach_the_sparsity() -> None:
    network = dense(64, 64, 64)
    loud = layouts.dense(network.weights["w0"].values * np.float32(100))  # wins every comparison
    network = replace(network, weights={**network.weights, "w0": loud})

    first, second = pipeline.prune_csr(network, 0.6).layers

    assert first.operator == "gemm_f32"
    assert "zeros CSR takes" in first.reason
    assert isclose(second.sparsity, 0.6, abs_tol=1e-3)


def test_layer_scope_gives_every_layer_the_same_sparsity() -> None:
    made = pipeline.prune_csr(dense(64, 128, 64), 0.75, scope="layer")

    assert [layer.sparsity for layer in made.layers] == [0.75, 0.75]


def test_pruning_too_little_is_refused_with_the_bytes() -> None:
    with pytest.raises(ValueError, match="nothing to compress: layer0: at 30% zeros CSR takes"):
        pipeline.prune_csr(dense(64, 64), 0.3)


def test_a_layer_that_came_with_zeros_is_judged_by_what_csr_would_store() -> None:
    network = dense(64, 64)
    sparse = network.weights["w0"].values.copy()
    sparse.reshape(-1)[: sparse.size * 9 // 10] = 0.0
    network = replace(network, weights={**network.weights, "w0": layouts.dense(sparse)})

    (layer,) = pipeline.prune_csr(network, 0.3).layers  # 0.3 is reached already: nothing is lost

    assert layer.operator == "spmm_csr"
    assert layer.bytes_after == 8 * np.count_nonzero(sparse) + 4 * (64 + 1)


def test_a_layer_without_columns_stays_dense() -> None:
    whole = dense(40, 40)
    hollow = Step("hollow", "gemm_f32", {"x": "e", "weight": "we"}, {"y": "ye"})
    network = replace(
        whole,
        inputs={**whole.inputs, "e": batched(0)},
        steps=(*whole.steps, hollow),
        outputs=("y", "ye"),
        weights={**whole.weights, "we": layouts.dense(np.zeros((40, 0), np.float32))},
    )

    first, second = pipeline.prune_csr(network, 0.9).layers

    assert (first.operator, second.operator) == ("spmm_csr", "gemm_f32")
    assert second.reason == "at 100% zeros CSR takes 164 bytes, dense 0"


def test_a_network_without_dense_layers_has_nothing_to_compress() -> None:
    network = mlp((4, 4), ("int8",))

    with pytest.raises(ValueError, match="no dense layer"):
        pipeline.int8(network)
    with pytest.raises(ValueError, match="no dense layer"):
        pipeline.prune_csr(network, 0.9)
