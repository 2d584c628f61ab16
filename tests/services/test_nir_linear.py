"""Convolutions and pools of NIR as matrices: the same numbers as ONNX Runtime gives, exactly."""

from typing import Any

import nir
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy import signal, sparse

from services.compressor.importers import nir_linear
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator
from shared.tensors.dtypes import F32

RNG = np.random.default_rng(8)


def whole(*shape: int) -> F32:
    """Small whole numbers, so that sums of them are exact in any order."""
    return RNG.integers(-8, 9, shape).astype(np.float32)


def by_onnx(operator: str, x: F32, weights: dict[str, F32], **attributes: Any) -> F32:
    node = helper.make_node(operator, ["x", *weights], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor(n, TensorProto.FLOAT, w.shape, w) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: F32 = session.run(None, {"x": x})[0][0]
    return found


def applied(node: nir.NIRNode, x: F32) -> np.ndarray:
    matrix, bias, shape = nir_linear.linear("n", node, x.shape[1:])
    assert matrix is not None
    values = matrix @ x.reshape(-1).astype(np.float64)
    return (values if bias is None else values + bias).reshape(shape)


def conv2d(weight: F32, bias: F32, shape: tuple[int, int] | None, **given: Any) -> nir.Conv2d:
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    node = nir.Conv2d(input_shape=shape, weight=weight, bias=bias, **usual)
    for name, value in given.items():
        setattr(node, name, value)
    return node


pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    taps=pair,
    stride=pair,
    dilation=pair,
    padding=st.one_of(
        st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["same", "valid"])
    ),
    groups=st.integers(1, 3),
)
def test_convolutions_are_those_of_onnx(
    taps: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int] | str,
    groups: int,
) -> None:
    stride = (1, 1) if padding == "same" else stride
    x = whole(1, 2 * groups, 9, 8)
    weight, bias = whole(3 * groups, 2, *taps), whole(3 * groups)
    node = conv2d(
        weight, bias, (9, 8), stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    pads = [0, 0] if isinstance(padding, str) else list(padding)
    before = [d * (k - 1) // 2 for d, k in zip(dilation, taps, strict=True)]
    after = [d * (k - 1) - b for d, k, b in zip(dilation, taps, before, strict=True)]
    around = [*before, *after] if padding == "same" else pads * 2

    found = applied(node, x)

    wanted = by_onnx(
        "Conv",
        x,
        {"w": weight, "b": bias},
        strides=stride,
        pads=around,
        dilations=dilation,
        group=groups,
    )
    np.testing.assert_array_equal(found, wanted)


@given(
    taps=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    groups=st.integers(1, 2),
)
def test_convolutions_in_one_direction_are_those_of_onnx(
    taps: int, stride: int, dilation: int, padding: int, groups: int
) -> None:
    x, weight, bias = whole(1, 2 * groups, 11), whole(2 * groups, 2, taps), whole(2 * groups)
    node = nir.Conv1d(11, weight, stride, padding, dilation, groups, bias)

    found = applied(node, x)

    wanted = by_onnx(
        "Conv",
        x,
        {"w": weight, "b": bias},
        strides=[stride],
        pads=[padding] * 2,
        dilations=[dilation],
        group=groups,
    )
    np.testing.assert_array_equal(found, wanted)


def test_a_convolution_is_a_correlation_as_scipy_has_it() -> None:
    x, weight = whole(1, 1, 6, 7), whole(1, 1, 3, 2)

    found = applied(conv2d(weight, whole(1) * 0, (6, 7)), x)

    wanted = signal.correlate2d(x[0, 0], weight[0, 0], mode="valid")
    np.testing.assert_array_equal(found[0], wanted)


@given(taps=pair, stride=pair, padded=st.booleans())
def test_pools_are_those_of_onnx(
    taps: tuple[int, int], stride: tuple[int, int], padded: bool
) -> None:
    x = whole(1, 3, 7, 8)
    padding = tuple(k // 2 for k in taps) if padded else (0, 0)
    given = {"kernel_size": np.array(taps), "stride": np.array(stride)}
    given["padding"] = np.array(padding)

    average, total = (applied(kind(**given), x) for kind in (nir.AvgPool2d, nir.SumPool2d))

    wanted = by_onnx(
        "AveragePool",
        x,
        {},
        kernel_shape=taps,
        strides=stride,
        pads=padding * 2,
        count_include_pad=1,
    )
    np.testing.assert_allclose(average, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(total, average * np.prod(taps), rtol=1e-12, atol=1e-12)


def test_a_pool_by_hand() -> None:
    x = np.arange(1.0, 9.0, dtype=np.float32).reshape(1, 1, 2, 4)  # 1 2 3 4 / 5 6 7 8
    two = np.array([2, 2])

    found = applied(nir.SumPool2d(two, two, np.array([0, 0])), x)

    assert found.tolist() == [[[1 + 2 + 5 + 6, 3 + 4 + 7 + 8]]]


def test_a_matrix_of_a_convolution_holds_what_is_not_zero_alone() -> None:
    matrix, _, _ = nir_linear.linear("n", conv2d(whole(1, 1, 3, 3), whole(1), (50, 50)), (2500,))

    assert sparse.issparse(matrix)
    assert matrix.nnz <= 9 * 48 * 48


def pool(**given: Any) -> nir.SumPool2d:
    usual = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2])}
    return nir.SumPool2d(**{**usual, "padding": np.array([0, 0]), **given})


ONE = whole(1, 1, 3, 3)


@pytest.mark.parametrize(
    ("node", "shape", "error", "message"),
    [
        (conv2d(ONE, whole(1), (9, 9)), (80,), InvalidNetwork, r"takes \(1, 9, 9\), \(80,\) comes"),
        (conv2d(ONE, whole(1), None), (81,), InvalidNetwork, "does not say its input_shape"),
        (conv2d(ONE, whole(1), (2, 9)), (18,), InvalidNetwork, "3 taps 1 apart do not fit into 2"),
        (conv2d(ONE, whole(1), (9, 9), stride=0), (81,), InvalidNetwork, "stride of 'n' is"),
        (conv2d(ONE, whole(1), (9, 9), padding=-1), (81,), InvalidNetwork, "padding of 'n' is"),
        (conv2d(ONE, whole(2), (9, 9)), (81,), InvalidNetwork, "bias of 'n' has 2 values for 1"),
        (conv2d(ONE, whole(1), (9, 9), groups=2), (162,), InvalidNetwork, "1 channels in 2 groups"),
        (
            conv2d(ONE, whole(1), (9, 9), padding="same", stride=2),
            (81,),
            UnsupportedOperator,
            r"'n' \(Conv2d\): padding 'same' with strides \(2, 2\)",
        ),
        (
            conv2d(ONE, whole(1), (200, 200)),
            (40_000,),
            TooLarge,
            # 198 * 198 * 200 * 200 * 4
            r"'n' \(Conv2d\): its matrix of 39204 x 40000 takes 6272640000 bytes, over the lim",
        ),
        (pool(padding=np.array([2**30, 0])), (1, 4, 4), InvalidNetwork, "padding of 'n' is"),
        (pool(padding=np.array([2**27, 0])), (1, 4, 4), TooLarge, r"'n' \(SumPool2d\)"),
        (pool(), (5, 16), InvalidNetwork, r"takes channels, rows and columns, not \(5, 16\)"),
        (pool(kernel_size=np.array([9, 9])), (1, 4, 4), InvalidNetwork, "9 taps 1 apart"),
        (pool(stride=np.array([1.5, 2])), (1, 4, 4), InvalidNetwork, "stride of 'n' is"),
        (nir.Scale(np.ones(3)), (4,), InvalidNetwork, "takes 3 values, 4 come before it"),
    ],
)
def test_what_is_no_map_is_named(
    node: nir.NIRNode, shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        nir_linear.linear("n", node, shape)
