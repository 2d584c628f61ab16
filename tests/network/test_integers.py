"""Networks in integers: where bytes flow, and how close the answers stay."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cpu_worker.backend import CpuBackend
from shared.network import execute, integers, observing, shapes
from shared.network.graph import Network, Step
from shared.network.training import backward
from shared.operators.reference import ReferenceBackend
from shared.quantization import affine, ranges
from shared.quantization.ranges import Affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import dense
from tests.network.networks import mlp

ROWS = 64


def rows(columns: int, seed: int = 5) -> F32:
    return np.random.default_rng(seed).standard_normal((ROWS, columns)).astype(np.float32)


def codes(network: Network, x: F32) -> dict[str, Affine]:
    seen = observing.observe(network, x, backward.on(ReferenceBackend()))
    return {
        name: ranges.affine(ranges.min_max(one), 8, symmetric=False) for name, one in seen.items()
    }


def answers(network: Network, x: F32) -> F32:
    y: F32 = execute.load(network, ReferenceBackend()).run({"x": dense(x)})["y"].values
    return y


def whole(*sizes: int) -> tuple[Network, F32]:
    return mlp(sizes, ("int8",) * (len(sizes) - 1)), rows(sizes[0])


def test_bytes_flow_from_product_to_product_and_scores_stay_floats() -> None:
    network, x = whole(12, 9, 7, 5)

    made = integers.static(network, codes(network, x))

    assert [(step.operator, step.attributes.get("to")) for step in made.steps] == [
        ("quantize_i8", None),
        ("gemm_q8", "i8"),
        ("gemm_q8", "i8"),
        ("gemm_q8", "f32"),
        ("softmax", None),
    ]
    types = shapes.infer(made, 4)
    assert [types[name].dtype for name in ("x:i8", "h0", "h1", "h2")] == [
        Dtype.I8,
        Dtype.I8,
        Dtype.I8,
        Dtype.F32,
    ]
    assert {w.dtype for name, w in made.weights.items() if name.startswith("b")} == {Dtype.I32}


@given(st.lists(st.integers(1, 24), min_size=2, max_size=4), st.integers(0, 100))
def test_answers_stay_within_what_rounding_can_do(sizes: list[int], seed: int) -> None:
    network = mlp(tuple(sizes), ("int8",) * (len(sizes) - 1), seed=seed)
    x = rows(sizes[0], seed)

    made = integers.static(network, codes(network, x))

    assert np.abs(answers(made, x) - answers(network, x)).mean() < 0.05


def test_a_bias_beside_nothing_is_kept() -> None:
    network, x = whole(3, 2, 4)
    dead = np.zeros((2, 3), np.float32)  # every hidden neuron is what its bias says
    half = np.ones((4, 2), np.float32) * np.array([[1], [0], [1], [0]], np.float32)
    weights = {
        "w0": affine.quantize(dead, INT8_PER_CHANNEL),
        "b0": dense(np.array([-1.0, -0.5], np.float32)),  # and the rectifier leaves nothing
        "w1": affine.quantize(half, INT8_PER_CHANNEL),
        "b1": dense(np.array([0.5, -2.0, 1.0, 3.0], np.float32)),
    }
    network = replace(network, weights=weights)

    made = integers.static(network, codes(network, x))

    np.testing.assert_allclose(answers(made, x), answers(network, x), rtol=1e-6)


def test_the_cpu_answers_bit_by_bit_like_the_reference() -> None:
    network, x = whole(33, 40, 10)
    made = integers.static(network, codes(network, x))
    scores = replace(made, steps=made.steps[:-1], outputs=("h1",))

    mine, wanted = (
        execute.load(scores, backend).run({"x": dense(x)})["h1"].values
        for backend in (CpuBackend(), ReferenceBackend())
    )

    np.testing.assert_array_equal(mine, wanted)


def test_a_value_that_others_read_too_stays_float() -> None:
    network, x = whole(6, 5, 4)
    given_to_two = replace(network, outputs=("y", "h0"))

    made = integers.static(given_to_two, codes(network, x))

    assert [step.operator for step in made.steps] == [
        "quantize_i8",
        "gemm_q8",
        "quantize_i8",
        "gemm_q8",
        "softmax",
    ]
    assert shapes.infer(made, 2)["h0"].dtype is Dtype.F32


def test_two_readers_share_one_rounding() -> None:
    network, x = whole(6, 5)
    second = replace(network.steps[0], name="other", outputs={"y": "h9"})
    steps = (
        network.steps[0],
        second,
        network.steps[1],
        Step("s", "softmax", {"x": "h9"}, {"y": "z"}),
    )
    network = replace(network, steps=steps, outputs=("y", "z"))

    made = integers.static(network, codes(network, x))

    assert [step.operator for step in made.steps].count("quantize_i8") == 1
    np.testing.assert_array_equal(answers(made, x), answers(replace(made, outputs=("z", "y")), x))


def test_a_layer_that_is_no_int8_product_is_named() -> None:
    network = mlp((4, 3), ("dense",))

    with pytest.raises(ValueError, match="'layer0' is no product with an INT8 weight"):
        integers.static(network, {"layer0": Affine(1.0, 0, -128, 127)})
