"""Reading ONNX: the same numbers as its reference evaluator."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from services.compressor.importers.onnx_graph import Translated
from services.cpu_worker.backend import CpuBackend
from shared.network import execute
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from tests.services.onnx_files import W, f32, file, node, translate


def assert_same(model: onnx.ModelProto, *, rows: int = 3, x: Array | None = None) -> Translated:
    """The imported network computes what the file says."""
    made = translate(model)
    if x is None:
        (kind,) = made.network.inputs.values()
        shape = [rows if size is None else size for size in kind.shape]
        x = np.random.default_rng(7).standard_normal(shape).astype(kind.dtype.numpy)
    names = [output.name for output in model.graph.output]
    with np.errstate(over="ignore", invalid="ignore"):  # in the half that its sigmoid discards
        expected = ReferenceEvaluator(model).run(names, {"x": x})

    outputs = execute.load(made.network, CpuBackend()).run({"x": layouts.dense(x)})

    for name, values in zip(names, expected, strict=True):
        np.testing.assert_allclose(outputs[name].values, values, rtol=2e-5, atol=2e-6)
    return made


def operators(made: Translated) -> list[str]:
    return [step.operator for step in made.network.steps]


ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "Identity", "Dropout")


@st.composite
def mlps(draw: st.DrawFn) -> onnx.ModelProto:
    """Layers written as Gemm (either orientation, scaled) or MatMul and Add, in random widths."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    constants: dict[str, Array] = {}
    nodes, value = [], "x"
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        weight = rng.standard_normal((inputs, outputs)).astype(np.float32)
        constants[f"b{index}"] = rng.standard_normal(outputs).astype(np.float32)
        if draw(st.booleans()):
            turned = draw(st.booleans())
            constants[f"w{index}"] = weight.T.copy() if turned else weight
            scales = {"alpha": draw(st.sampled_from([1.0, 0.5, -2.0])), "beta": 0.25}
            names = [value, f"w{index}", f"b{index}"]
            nodes.append(node("Gemm", names, [f"s{index}"], transB=int(turned), **scales))
        else:
            constants[f"w{index}"] = weight
            nodes.append(node("MatMul", [value, f"w{index}"], [f"p{index}"]))
            sides = [f"p{index}", f"b{index}"]
            nodes.append(node("Add", sides[:: draw(st.sampled_from([1, -1]))], [f"s{index}"]))
        value = f"h{index}"
        nodes.append(node(draw(st.sampled_from(ACTIVATIONS)), [f"s{index}"], [value]))
    nodes.append(node("Softmax", [value], ["y"], axis=-1))
    return file(nodes, constants, x=("batch", widths[0]))


@given(mlps())
@settings(deadline=None)
def test_any_mlp_computes_what_its_file_says(model: onnx.ModelProto) -> None:
    assert_same(model)


ONE_NODE: list[tuple[str, list[onnx.NodeProto], dict[str, Array]]] = [
    ("add_scalar", [node("Add", ["x", "c"], ["y"])], {"c": np.float32(2)}),
    ("sub_row", [node("Sub", ["x", "c"], ["y"])], {"c": f32(1, 2, 3, 4)}),
    ("sub_from", [node("Sub", ["c", "x"], ["y"])], {"c": f32([1, 2, 3, 4])}),
    ("sub_self", [node("Sub", ["x", "x"], ["y"])], {}),
    ("mul_self", [node("Mul", ["x", "x"], ["y"])], {}),
    ("div_row", [node("Div", ["x", "c"], ["y"])], {"c": f32(1, 2, -3, 4)}),
    ("mul_one", [node("Mul", ["c", "x"], ["y"])], {"c": f32([2])}),
    ("clip", [node("Clip", ["x", "c", "d"], ["y"])], {"c": np.float32(-0.5), "d": np.float32(1)}),
    ("clip_top", [node("Clip", ["x", "", "d"], ["y"])], {"d": np.float32(0.1)}),
    ("softmax", [node("Softmax", ["x"], ["y"], axis=1)], {}),
    ("flatten", [node("Flatten", ["x"], ["y"])], {}),
    ("pass", [node("Identity", ["x"], ["y"])], {}),
    (
        "gemm_activation_c",
        [node("Gemm", ["x", "w"], ["a"]), node("Gemm", ["x", "w", "a"], ["y"], beta=0.5)],
        {"w": W},
    ),
    (
        "folded_constants",
        [
            node("Transpose", ["w"], ["t"], perm=[1, 0]),
            node("Mul", ["t", "c"], ["s"]),
            node("Gemm", ["x", "s"], ["y"], transB=1),
        ],
        {"w": W, "c": np.float32(3)},
    ),
    (
        "batch_norm",
        [node("MatMul", ["x", "w"], ["a"]), node("BatchNormalization", ["a", *"gbmv"], ["y"])],
        {
            "w": W,
            "g": f32(1, 2, 3, 4, 5),
            "b": f32(0, 1, 0, -1, 2),
            "m": f32(5, 4, 3, 2, 1),
            "v": f32(1, 4, 9, 0.5, 2),
        },
    ),
    ("reduce_sum", [node("ReduceSum", ["x", "a"], ["y"])], {"a": np.array([1])}),
    ("reduce_max", [node("ReduceMax", ["x"], ["y"], axes=[-1], keepdims=0)], {}),
    (
        "reduce_nothing",
        [node("ReduceSum", ["x", "a"], ["y"], noop_with_empty_axes=1)],
        {"a": np.array([], np.int64)},
    ),
    (
        "reduce_constant",
        [node("ReduceMean", ["w"], ["m"], axes=[1], keepdims=0), node("Mul", ["x", "m"], ["y"])],
        {"w": W},
    ),
    (
        "squeeze",
        [node("Unsqueeze", ["x", "p"], ["u"]), node("Squeeze", ["u", "p"], ["y"])],
        {"p": np.array([1], np.int64)},
    ),
]


@pytest.mark.parametrize(("nodes", "constants"), [case[1:] for case in ONE_NODE],
                         ids=[case[0] for case in ONE_NODE])  # fmt: skip
def test_an_operator_computes_what_its_node_says(
    nodes: list[onnx.NodeProto], constants: dict[str, Array]
) -> None:
    assert_same(file(nodes, constants))


def test_images_are_reshaped_normalised_and_turned_row_by_row() -> None:
    channel = f32(1, 2, 3)
    nodes = [
        node("BatchNormalization", ["x", *"cccc"], ["n"]),
        node("Transpose", ["n"], ["t"], perm=[0, 2, 3, 1]),
        node("Reshape", ["t", "shape"], ["r"]),
        node("MatMul", ["r", "w"], ["m"]),
        node("Flatten", ["m"], ["y"]),
    ]
    constants = {"c": channel, "shape": np.array([0, -1, 3]), "w": W[:3]}

    assert_same(file(nodes, constants, x=("batch", 3, 2, 5)))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax"])
def test_several_axes_are_reduced_one_after_the_other(operator: str, keepdims: int) -> None:
    image = ("batch", 3, 2, 5)
    as_input = node(operator, ["x", "a"], ["y"], keepdims=keepdims)
    as_attribute = node(operator, ["x"], ["y"], keepdims=keepdims, axes=[2, -1])

    made = assert_same(file([as_input], {"a": np.array([-2, 3])}, x=image, opset=18))
    assert operators(made) == [f"reduce_{operator.removeprefix('Reduce').lower()}"] * 2
    if operator != "ReduceSum":  # whose axes are an input since opset 13
        assert_same(file([as_attribute], x=image))


def test_whole_numbers_are_cast_before_they_are_used() -> None:
    nodes = [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("Relu", ["f"], ["y"])]
    pixels = np.array([[0, 1, 200, 255]], np.uint8)

    assert_same(file(nodes, dtype=TensorProto.UINT8), x=pixels)


def test_a_file_for_one_batch_size_serves_every_batch_size() -> None:
    nodes = [node("Reshape", ["x", "s"], ["r"]), node("MatMul", ["r", "w"], ["y"])]

    made = translate(file(nodes, {"s": np.array([8, 4]), "w": W}, x=(8, 2, 2)))

    rows = layouts.dense(np.ones((3, 2, 2), np.float32))
    outputs = execute.load(made.network, CpuBackend()).run({"x": rows})
    np.testing.assert_allclose(outputs["y"].values, np.ones((3, 4)) @ W, rtol=1e-5)


def test_a_layer_with_everything_around_it_becomes_one_step() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Add", ["a", "c"], ["b"]),
        node("BatchNormalization", ["b", *"oooo"], ["n"]),
        node("Relu", ["n"], ["y"]),
    ]

    made = assert_same(
        file(nodes, {"w": W, "c": np.ones(5, np.float32), "o": np.ones(5, np.float32)})
    )

    assert operators(made) == ["gemm_f32"]
    assert made.network.steps[0].attributes["activation"] == "relu"
    assert len(made.network.weights) == 2
    assert made.coverage.operators == {"Add": 1, "BatchNormalization": 1, "MatMul": 1, "Relu": 1}


def test_a_value_that_two_nodes_read_is_not_fused_away() -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("Relu", ["a"], ["r"]),
        node("Add", ["a", "r"], ["y"]),
    ]

    made = assert_same(file(nodes, {"w": W}))

    assert operators(made) == ["gemm_f32", "relu", "add"]


def test_an_output_in_the_middle_stays_visible() -> None:
    nodes = [node("Gemm", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"])]

    made = assert_same(file(nodes, {"w": W}, outputs=("a", "y")))

    assert made.network.outputs == ("a", "y")


def test_one_value_under_two_output_names_is_copied() -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["y"])]

    assert_same(file(nodes, outputs=("a", "y")))


def test_what_no_output_needs_is_left_out() -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("MatMul", ["x", "w"], ["unused"])]

    made = assert_same(file(nodes, {"w": W}))

    assert operators(made) == ["relu"]
    assert not made.network.weights


def test_weights_in_half_and_double_precision_become_float32() -> None:
    nodes = [node("MatMul", ["x", "h"], ["a"]), node("MatMul", ["a", "d"], ["y"])]
    constants = {"h": W.astype(np.float16), "d": W.T.astype(np.float64)}

    made = translate(file(nodes, constants))

    assert {weight.dtype for weight in made.network.weights.values()} == {layouts.Dtype.F32}


def test_weights_may_be_listed_as_inputs_too() -> None:
    model = file([node("MatMul", ["x", "w"], ["y"])], {"w": W})
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, W.shape))

    assert list(translate(model).network.inputs) == ["x"]


def test_weights_in_typed_fields_are_read() -> None:
    model = file([node("MatMul", ["x", "w"], ["y"])])
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, W.shape, W.ravel()))

    made = assert_same(model)

    (weight,) = made.network.weights.values()
    np.testing.assert_array_equal(weight.values, W.T)
    assert numpy_helper.to_array(model.graph.initializer[0]).shape == W.shape
