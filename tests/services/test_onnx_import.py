"""Reading ONNX: the same numbers as its reference evaluator, and no harm from any bytes."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from services.compressor.importers import onnx_file, onnx_graph, sandbox
from services.compressor.importers.onnx_graph import Translated
from services.cpu_worker.backend import CpuBackend
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator
from shared.network import artifact, execute
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from tests.services.onnx_files import f32, file, node


def translate(model: onnx.ModelProto) -> Translated:
    return onnx_graph.translate(onnx_file.decode(model.SerializeToString()))


def assert_same(model: onnx.ModelProto, *, rows: int = 3, x: Array | None = None) -> Translated:
    """The imported network computes what the file says."""
    made = translate(model)
    if x is None:
        (kind,) = made.network.inputs.values()
        shape = [rows if size is None else size for size in kind.shape]
        x = np.random.default_rng(7).standard_normal(shape).astype(kind.dtype.numpy)
    names = [output.name for output in model.graph.output]
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


W = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
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


async def test_the_sandbox_returns_an_artifact_and_its_coverage() -> None:
    model = file([node("Gemm", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"])], {"w": W})

    converted = await sandbox.convert(model.SerializeToString())

    assert converted.operators == {"Gemm": 1, "Relu": 1}
    assert operators(Translated(artifact.unpack(converted.artifact), None)) == ["gemm_f32"]  # type: ignore[arg-type]  # coverage is not looked at


async def test_the_sandbox_gives_the_same_bytes_each_time() -> None:
    data = file([node("Gemm", ["x", "w"], ["y"])], {"w": W}).SerializeToString()

    assert (await sandbox.convert(data)).artifact == (await sandbox.convert(data)).artifact


@pytest.mark.parametrize("data", [b"", b"\x00", b"garbage" * 100, b"\x08" * 10_000])
async def test_bytes_that_are_no_file_come_back_as_an_error(data: bytes) -> None:
    with pytest.raises(InvalidNetwork):
        await sandbox.convert(data)


async def test_an_unsupported_file_keeps_its_report_on_the_way_out_of_the_sandbox() -> None:
    model = file([node("Conv", ["x", "w"], ["y"], name="stem")], {"w": W})

    with pytest.raises(UnsupportedOperator, match=r"stem \(Conv\)"):
        await sandbox.convert(model.SerializeToString())


async def test_a_parser_that_dies_is_an_invalid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CHILD", "tests.services.dying_child")

    with pytest.raises(InvalidNetwork, match="CPU time or memory"):
        await sandbox.convert(b"anything")


async def test_a_file_over_the_limit_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_BYTES", 10)

    with pytest.raises(TooLarge, match="11 bytes"):
        await sandbox.convert(b"x" * 11)


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
