"""ONNX files that must not become models."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def file(
    nodes: Sequence[NodeProto], constants: Sequence[TensorProto] = (), *, size: int = 4
) -> bytes:
    """A file with the input `x` (batch, size) and the output `y`."""
    x = helper.make_tensor_value_info("x", FLOAT, ["batch", size])
    y = helper.make_tensor_value_info("y", FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "net", [x], [y], list(constants))
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def outside() -> bytes:
    """Weights in another file, by a path that leaves the folder."""
    weight = TensorProto(name="w", data_type=FLOAT, dims=[4, 4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../etc/passwd")
    return file([helper.make_node("Gemm", ["x", "w"], ["y"])], [weight])


def unsupported() -> bytes:
    """Two nodes of three have no counterpart."""
    nodes = [
        helper.make_node("LSTM", ["x"], ["a"], name="memory", hidden_size=4),
        helper.make_node("Relu", ["a"], ["b"], name="sound"),
        helper.make_node("NonMaxSuppression", ["b", "b"], ["y"], name="boxes"),
    ]
    return file(nodes)


def cycle() -> bytes:
    """`first` needs what `second` makes of its output."""
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["y"], name="third"),
    ]
    return file(nodes)


def claimed_weight() -> bytes:
    """A few bytes that claim 2**62 elements."""
    weight = TensorProto(name="w", data_type=FLOAT, dims=[2**31, 2**31])
    return file([helper.make_node("Gemm", ["x", "w"], ["y"])], [weight])


def claimed_input() -> bytes:
    """An input of 2**40 elements a row."""
    return file([helper.make_node("Relu", ["x"], ["y"])], size=2**40)


def expanded() -> bytes:
    """A row of four that becomes 2**40."""
    shape = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "shape")
    return file([helper.make_node("Expand", ["x", "shape"], ["y"], name="blow")], [shape])


def outer_sum() -> bytes:
    """Two small constants whose sum has 2**40 elements."""
    tall = numpy_helper.from_array(np.ones((2**20, 1), np.float32), "tall")
    wide = numpy_helper.from_array(np.ones((1, 2**20), np.float32), "wide")
    nodes = [
        helper.make_node("Add", ["tall", "wide"], ["c"], name="blow"),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return file(nodes, [tall, wide])


def endless() -> bytes:
    """More nodes than any network has."""
    names = ["x", *(f"v{number}" for number in range(20_000)), "y"]
    return file([helper.make_node("Relu", [given], [made]) for given, made in pairwise(names)])
