"""References against arithmetic that fits on a page."""

import numpy as np
import pytest

from shared.operators.catalog import spec
from shared.operators.reference import ReferenceBackend
from shared.operators.samples import f32
from shared.operators.spec import Attributes, Tensors
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense
from tests.numerics.sparse_samples import stored


def run(name: str, inputs: Tensors, attributes: Attributes | None = None) -> dict[str, Array]:
    outputs = ReferenceBackend().run(spec(name), inputs, attributes or {})
    return {port: tensor.values for port, tensor in outputs.items()}


def test_gemm_multiplies_rows_of_x_by_rows_of_the_weight() -> None:
    x = f32([[1, 2], [3, 4]])
    weight = f32([[10, 1], [0, -1], [1, 1]])
    bias = f32([0.5, 0, -100])

    y = run("gemm_f32", {"x": x, "weight": weight, "bias": bias})["y"]

    # 1·10 + 2·1 + 0.5, 1·0 - 2, 1 + 2 - 100; 3·10 + 4·1 + 0.5, -4, 3 + 4 - 100
    np.testing.assert_array_equal(y, [[12.5, -2, -97], [34.5, -4, -93]])


def test_gemm_clips_at_zero_after_the_bias() -> None:
    inputs = {"x": f32([[1.0]]), "weight": f32([[2.0], [2.0]]), "bias": f32([-1.0, -3.0])}

    y = run("gemm_f32", inputs, {"activation": "relu"})["y"]

    np.testing.assert_array_equal(y, [[1.0, 0.0]])  # 2 - 1, max(2 - 3, 0)


def test_gemm_of_integers_scales_the_sum_of_codes() -> None:
    codes, scale = np.array([[3, -2], [127, 1]], np.int8), np.array([[0.5], [0.25]], np.float32)
    weight = Tensor(Layout.INT8_CHANNEL, Dtype.F32, (2, 2), {"codes": codes, "scale": scale})

    y = run("gemm_i8", {"x": f32([[1, 2]]), "weight": weight, "bias": f32([10, 0])})["y"]

    # (1·3 - 2·2)·0.5 + 10 and (127 + 2)·0.25
    np.testing.assert_array_equal(y, [[9.5, 32.25]])


def test_spmm_adds_the_stored_products_of_each_row() -> None:
    weight = stored([0, 2, 2, 3], [0, 2, 1], [2, 3, 4], cols=3)  # [[2, 0, 3], [0, 0, 0], [0, 4, 0]]
    x = f32([[1, 10], [2, 20], [3, 30]])

    y = run("spmm_csr", {"weight": weight, "x": x, "bias": f32([0, 1, 0])})["y"]

    np.testing.assert_array_equal(y, [[11, 110], [1, 1], [8, 80]])  # 2·1 + 3·3; 0 + 1; 4·2


def test_spmm_with_the_batch_first_is_the_transpose() -> None:
    weight = stored([0, 2, 2, 3], [0, 2, 1], [2, 3, 4], cols=3)

    y = run("spmm_csr", {"weight": weight, "x": f32([[1, 2, 3]])}, {"batch_first": True})["y"]

    np.testing.assert_array_equal(y, [[11, 0, 8]])


def test_spmm_adds_elements_that_share_a_place() -> None:
    weight = stored([0, 3], [1, 0, 1], [2, 1, 3], cols=2)

    y = run("spmm_csr", {"weight": weight, "x": f32([[10], [1]])})["y"]

    np.testing.assert_array_equal(y, [[15]])  # 10·1 + 1·(2 + 3)


def test_potential_at_the_threshold_does_not_spike_and_one_above_it_resets() -> None:
    inputs = {"v": f32([[1.0, 1.0]]), "current": f32([[0.5, 0.75]])}

    outputs = run("lif_step", inputs, {"decay": 0.5, "v_reset": -0.25})

    # 0.5·1 + 0.5 = 1 stays; 0.5·1 + 0.75 = 1.25 > 1 spikes
    np.testing.assert_array_equal(outputs["v_next"], [[1.0, -0.25]])
    np.testing.assert_array_equal(outputs["spikes"], [[0, 1]])


def test_plasticity_reads_the_traces_before_the_spikes_of_now_mark_them() -> None:
    inputs = {
        "weight": f32([[0.5, 0.5]]),
        "pre_spikes": f32([1, 0]),
        "post_spikes": f32([1]),
        "pre_trace": f32([0, 1]),
        "post_trace": f32([0.5]),
    }
    rule = {"a_plus": 0.5, "a_minus": 0.25, "decay_pre": 0.5, "decay_post": 0.5}

    outputs = run("stdp_update", inputs, rule)

    # x = [0, 0.5], y = [0.25]; w0 = 0.5 + 0 - 0.25·0.25 = 0.4375, w1 = 0.5 + 0.5·0.5 = 0.75
    np.testing.assert_array_equal(outputs["weight_next"], [[0.4375, 0.75]])
    np.testing.assert_array_equal(outputs["pre_trace_next"], [1, 0.5])
    np.testing.assert_array_equal(outputs["post_trace_next"], [1.25])


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("relu", {}, [0, 0, 0.5, np.nan]),
        ("clip", {"low": -1, "high": 0.25}, [-1, 0, 0.25, np.nan]),
        ("copy", {}, [-2, 0, 0.5, np.nan]),
        ("tanh", {}, [-0.9640276, 0, 0.4621172, np.nan]),  # (e^2x - 1) / (e^2x + 1)
        ("sigmoid", {}, [0.1192029, 0.5, 0.6224593, np.nan]),  # 1 / (1 + e^-x)
    ],
)
def test_function_of_one_element_keeps_nan(
    name: str, attributes: Attributes, expected: list[float]
) -> None:
    y = run(name, {"x": f32([-2, 0, 0.5, np.nan])}, attributes)["y"]

    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_softmax_of_large_equal_values_shares_evenly() -> None:
    y = run("softmax", {"x": f32([[1e30, 1e30], [0.0, np.log(3.0)]])})["y"]

    np.testing.assert_allclose(y, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)


def test_second_operand_repeats_over_rows_or_over_everything() -> None:
    a = f32([[1, 2], [3, 4]])

    by_column = run("add", {"a": a, "b": f32([10, 20])})["y"]
    by_scalar = run("mul", {"a": a, "b": dense(np.array(2, np.float32))})["y"]

    np.testing.assert_array_equal(by_column, [[11, 22], [13, 24]])
    np.testing.assert_array_equal(by_scalar, [[2, 4], [6, 8]])


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("i8", [1, -1, 127, -128, 0]),
        ("u8", [1, 0, 255, 0, 0]),
        ("i32", [1, -1, 2147483647, -2147483648, 0]),
        ("i64", [1, -1, 9223372036854775807, -9223372036854775808, 0]),
        ("bool", [True, True, True, True, True]),
    ],
)
def test_cast_cuts_saturates_and_maps_nan_to_zero(to: str, expected: list[int]) -> None:
    y = run("cast", {"x": f32([1.75, -1.75, 1e30, -1e30, np.nan])}, {"to": to})["y"]

    assert y.tolist() == expected


def test_cast_to_bfloat16_rounds_half_to_even() -> None:
    # BF16 keeps 8 bits: 1 + 2^-8 is halfway between 1 and 1 + 2^-7, 1 + 3·2^-8 between 1 + 2^-7
    # and 1 + 2^-6; the even neighbours are 1 (0x3F80) and 1 + 2^-6 (0x3F82).
    y = run("cast", {"x": f32([1 + 2**-8, 1 + 3 * 2**-8, -np.inf])}, {"to": "bf16"})["y"]

    assert [hex(bits) for bits in y] == ["0x3f80", "0x3f82", "0xff80"]


def test_reshape_keeps_zeros_and_infers_the_rest_even_without_rows() -> None:
    x = dense(np.zeros((0, 3, 4), np.float32))

    y = run("reshape", {"x": x}, {"shape": (0, -1)})["y"]

    assert y.shape == (0, 12)


def test_transpose_moves_dimension_perm_d_to_d() -> None:
    x = dense(np.arange(6, dtype=np.float32).reshape(1, 2, 3))

    y = run("transpose", {"x": x}, {"perm": (2, 0, 1)})["y"]

    np.testing.assert_array_equal(y, [[[0, 3]], [[1, 4]], [[2, 5]]])


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("gemm_f32", {"x": f32([[np.nan, 1], [1, 1]]), "weight": f32([[0, 1]])}),
        ("spmm_csr", {"x": f32([[np.nan, 1]]), "weight": stored([0, 1, 1], [0], [2], cols=1)}),
    ],
)
def test_nan_reaches_only_what_reads_it(name: str, inputs: dict[str, Tensor]) -> None:
    y = run(name, inputs)["y"]

    assert np.isnan(y).sum() == 1  # 0 × NaN is NaN; the empty sparse row reads nothing
    assert np.isnan(y[0, 0])
