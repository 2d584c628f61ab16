"""What is refused of an ONNX file, with a reason; and no harm from any bytes."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from services.compressor.importers import onnx_file, onnx_graph
from shared.contracts.errors import InvalidNetwork, UnsupportedOperator
from shared.tensors.dtypes import Array
from tests.services.onnx_files import W, f32, file, node, translate


def test_every_node_without_a_counterpart_is_named() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="features.0"),
        node("Relu", ["a"], ["b"]),
        node("LSTM", ["b", "w", "w"], ["c"], name="memory"),
        node("Conv", ["c", "w"], ["d"], name="features.3"),
        node("Transpose", ["x"], ["t"], name="turn"),
        node("Foo", ["d"], ["y"], name="custom", domain="com.acme"),
    ]

    with pytest.raises(UnsupportedOperator) as caught:
        translate(file(nodes, {"w": W}))

    text = str(caught.value)
    assert "5 of 6 nodes" in text
    assert "Conv x2, LSTM x1, Transpose x1, com.acme.Foo x1" in text
    for name in (
        "features.0 (Conv)",
        "memory (LSTM)",
        "features.3 (Conv)",
        "custom (com.acme.Foo)",
    ):
        assert name in text
    assert "turn (Transpose): perm (1, 0) moves the batch" in text
    assert "Relu" not in text


REFUSED: list[tuple[str, list[onnx.NodeProto], dict[str, Array], str]] = [
    ("trans_a", [node("Gemm", ["x", "w"], ["y"], transA=1)], {"w": W}, "transA"),
    ("product_of_two", [node("MatMul", ["x", "x"], ["y"])], {}, "must be a constant"),
    ("softmax_of_batch", [node("Softmax", ["x"], ["y"], axis=0)], {}, "axis 0"),
    ("flatten_all", [node("Flatten", ["x"], ["y"], axis=0)], {}, "mix the rows"),
    ("shape_mixes", [node("Reshape", ["x", "s"], ["y"])], {"s": np.array([-1, 8])}, "mix the rows"),
    (
        "shape_fixed",
        [node("Reshape", ["x", "s"], ["y"])],
        {"s": np.array([3, 4])},
        "batch in front",
    ),
    ("divide_by_x", [node("Div", ["c", "x"], ["y"])], {"c": f32(1)}, "must be a constant"),
    ("grown", [node("Add", ["x", "c"], ["y"])], {"c": np.ones((5, 4), np.float32)}, "spread"),
    ("deeper", [node("Add", ["x", "c"], ["y"])], {"c": np.ones((1, 1, 4), np.float32)}, "rank 3"),
    ("softmax_beyond", [node("Softmax", ["x"], ["y"], axis=3)], {}, "axis 3 of rank 2"),
    ("reduce_all", [node("ReduceMax", ["x"], ["y"])], {}, "rows of a batch"),
    ("reduce_batch", [node("ReduceMean", ["x"], ["y"], axes=[0])], {}, "rows of a batch"),
    ("half_a_sum", [node("Add", ["x"], ["y"])], {}, "input 1 is left out"),
    ("half_a_difference", [node("Sub", ["", "x"], ["y"])], {}, "input 0 is left out"),
    (
        "mask_used",
        [node("Dropout", ["x"], ["a", "mask"]), node("Add", ["a", "mask"], ["y"])],
        {},
        "second output 'mask'",
    ),
    (
        "training",
        [node("Dropout", ["x", "r", "t"], ["y"])],
        {"r": np.float32(0.5), "t": np.array(True)},
        "training_mode",
    ),
]


@pytest.mark.parametrize(("nodes", "constants", "why"), [case[1:] for case in REFUSED],
                         ids=[case[0] for case in REFUSED])  # fmt: skip
def test_what_would_mix_rows_or_cannot_be_said_is_refused(
    nodes: list[onnx.NodeProto], constants: dict[str, Array], why: str
) -> None:
    with pytest.raises(UnsupportedOperator, match=why):
        translate(file(nodes, constants))


BROKEN: list[tuple[str, Callable[[], onnx.ModelProto], str]] = [
    (
        "cycle",
        lambda: file([node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"])], outputs=("b",)),
        "cycle",
    ),
    ("ghost", lambda: file([node("Relu", ["ghost"], ["y"])]), "which nothing makes"),
    ("no_maker", lambda: file([node("Relu", ["x"], ["a"])]), "output reads 'y'"),
    ("twice", lambda: file([node("Relu", ["x"], ["y"])] * 2), "made twice"),
    ("widths", lambda: file([node("MatMul", ["x", "w"], ["y"])], {"w": W.T.copy()}), "multiplies"),
    ("nan", lambda: file([node("MatMul", ["x", "w"], ["y"])], {"w": W * np.nan}), "NaN"),
    (
        "double_overflow",
        lambda: file([node("Mul", ["x", "c"], ["y"])], {"c": np.array(1e300)}),
        "more than float32",
    ),
    ("zero", lambda: file([node("Div", ["x", "c"], ["y"])], {"c": np.float32(0)}), "by zero"),
    ("constant", lambda: file([node("Identity", ["c"], ["y"])], {"c": W}), "depend on an input"),
    ("unknown_size", lambda: file([node("Relu", ["x"], ["y"])], x=("n", "m")), "must be known"),
    (
        "shape_bomb",
        lambda: file([node("Relu", ["x"], ["y"])], x=("n", 2**31, 2**31)),
        "at most 268435456",
    ),
    (
        "constant_bomb",
        lambda: file(
            [node("Add", ["a", "b"], ["c"]), node("Add", ["x", "c"], ["y"])],
            {"a": np.zeros((2**15, 1), np.float32), "b": np.zeros((1, 2**15), np.float32)},
        ),
        "constant of 1073741824 elements",
    ),
    ("old", lambda: file([node("Relu", ["x"], ["y"])], opset=6), "opset 6"),
    ("future", lambda: file([node("Relu", ["x"], ["y"])], opset=99), "opset 99"),
    (
        "long_name",
        lambda: file([node("Relu", ["x"], ["y" * 300])], outputs=("y" * 300,)),
        "300 characters",
    ),
]


@pytest.mark.parametrize(("build", "why"), [case[1:] for case in BROKEN],
                         ids=[case[0] for case in BROKEN])  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused(
    build: Callable[[], onnx.ModelProto], why: str
) -> None:
    with pytest.raises(InvalidNetwork, match=why):
        translate(build())


def test_a_tensor_that_claims_more_than_it_holds_is_refused() -> None:
    model = file([node("MatMul", ["x", "w"], ["y"])], {"w": W})
    model.graph.initializer[0].dims[:] = [2**20, 2**20]

    with pytest.raises(InvalidNetwork, match="claims the shape"):
        translate(model)


def test_a_tensor_with_too_few_bytes_is_refused() -> None:
    model = file([node("MatMul", ["x", "w"], ["y"])], {"w": W})
    model.graph.initializer[0].dims[:] = [400, 5]

    with pytest.raises(InvalidNetwork, match="does not fit its shape"):
        translate(model)


def outside() -> TensorProto:
    """A tensor whose values are said to be in another file."""
    tensor = TensorProto(name="leak", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(outside())


def in_sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(outside())


def in_sparse_indices(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(outside())


def in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(node("Constant", [], ["c"], value=outside()))


def in_subgraph(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([node("Constant", [], ["c"], value=outside())], "b", [], [])
    model.graph.node.append(node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))


def in_function(model: onnx.ModelProto) -> None:
    inner = [node("Constant", [], ["c"], value=outside())]
    model.functions.append(helper.make_function("d", "f", [], ["c"], inner, []))


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(outside())


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_sparse_initializer,
        in_sparse_indices,
        in_attribute,
        in_subgraph,
        in_function,
        in_training,
    ],
)
def test_external_data_is_found_wherever_it_hides(hide: Callable[[onnx.ModelProto], None]) -> None:
    model = file([node("Relu", ["x"], ["y"])])
    hide(model)

    with pytest.raises(InvalidNetwork, match="'leak' is stored outside the file"):
        onnx_file.decode(model.SerializeToString())


@given(st.data())
@settings(deadline=None)
def test_no_cut_or_flipped_byte_does_more_than_raise_a_named_error(data: st.DataObject) -> None:
    whole = file([node("Gemm", ["x", "w"], ["y"])], {"w": W}).SerializeToString()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]

    for broken in (whole[:place], flipped):
        try:
            onnx_graph.translate(onnx_file.decode(broken))
        except (InvalidNetwork, UnsupportedOperator):
            continue
